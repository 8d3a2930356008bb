package cli

import (
	"cmp"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/report"
)

// release is set by the linker in a release.
var release string

// version returns the release, or the commit that the program was built from.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	v := cmp.Or(info.Main.Version, "(devel)")
	if revision := settings["vcs.revision"]; v == "(devel)" && len(revision) >= 12 {
		v = "devel " + revision[:12]
	}
	return v
}

func versionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			if a.json() {
				return a.writeJSON(report.Version{Version: version(), Go: runtime.Version()})
			}
			output.Printf(a.stdout, "ringfence %s (%s)\n", version(), runtime.Version())
			return nil
		},
	}
}
