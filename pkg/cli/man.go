package cli

import (
	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/manual"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/report"
)

func manCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages into a folder",
		Long: `man writes a manual page for each command, ringfence.8 and others, and one for the
policy file, ringfence-policy.5. The folder must exist. With SOURCE_DATE_EPOCH in the
environment the pages have that date.`,
		Example: `  ringfence man /usr/local/share/man/man8`,
		Args:    oneArgument("a folder, such as /usr/local/share/man/man8"),
		RunE: func(c *cobra.Command, args []string) error {
			names, err := manual.Write(c.Root(), version(), args[0], fence.DefaultPolicy)
			if err != nil {
				return err
			}
			if a.json() {
				return a.writeJSON(report.Files{Files: names})
			}
			output.Printf(a.stdout, "Wrote %s into %s.\n", notice.Count(len(names), "page"), args[0])
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
}
