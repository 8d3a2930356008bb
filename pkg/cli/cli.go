// Package cli is the command line, with one file for each command, and the only package
// that connects the others. It reads flags, files and the host, passes them to the
// packages that decide and act, and reports the result as text or JSON.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/cli/hint"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/resolve"
)

// app is one run of the program.
type app struct {
	stdin          io.Reader
	stdout, stderr *output.Writer
	screen         io.Writer // where standard output leads to, for a program that fills a terminal

	policyPath, stateDir, runDir string
	output, logLevel             string
	version                      bool // only the version is asked for

	dial resolve.Dial // connects to name servers; nil is the usual way
	log  *slog.Logger
	// world is the environment of the command; nil is this machine.
	world *fence.World
	work  *fence.Fence // what the command works with, nil if it needs nothing
}

// memoryLimit is what the program tries to stay below, in bytes, without its own code.
const memoryLimit = 76 << 20

// Main runs the program with the given arguments, without the program's name, and
// returns its exit status.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) (status int) {
	// A soft limit: only a policy with very many addresses comes near it, and is collected
	// more often then. GOMEMLIMIT changes it.
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	out := &checkedWriter{Writer: stdout}
	a := &app{stdin: stdin, stdout: output.NewWriter(out, stdout), stderr: output.NewWriter(stderr, stderr), screen: stdout}
	defer func() {
		_ = a.stderr.Flush()
	}()
	defer func() {
		// Users must never see a stack trace; developers can ask for one.
		if r := recover(); r != nil {
			if a.logLevel == "debug" {
				_, _ = a.stderr.Write(debug.Stack())
			}
			status = a.fail(fmt.Errorf("this is a bug in ringfence: %v; please report it with the output of --log-level debug", r))
		}
	}()
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	// A second signal kills the process at once.
	context.AfterFunc(ctx, stop)
	err := root.ExecuteContext(ctx)
	_ = a.stdout.Flush() // out notes an error
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted: nothing was changed")
		if a.inForce() {
			err = errors.New("interrupted: the change is in force")
		}
	}
	if out.err != nil && a.inForce() {
		a.warn(fmt.Sprintf("the change is in force, but the output could not be written completely: %v", out.err))
		if errors.Is(err, out.err) {
			err = nil
		}
	} else if out.err != nil {
		err = errors.Join(err, fmt.Errorf("write output: %w", out.err))
	}
	if asksForJSON(args) {
		a.output = "json" // a wrong flag may have ended the reading of flags before
	}
	return a.fail(err)
}

// asksForJSON reports whether arguments have the flag for it.
func asksForJSON(args []string) bool {
	for i, arg := range args {
		switch {
		case arg == "-ojson", arg == "-o=json", arg == "--output=json":
			return true
		case (arg == "-o" || arg == "--output") && i+1 < len(args) && args[i+1] == "json":
			return true
		}
	}
	return false
}

// checkedWriter records write errors, so that incomplete output is not taken for
// complete.
type checkedWriter struct {
	io.Writer
	err error
}

func (w *checkedWriter) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	if w.err == nil {
		w.err = err
	}
	return n, err
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:                        "ringfence",
		SuggestionsMinimumDistance: 2,
		Short:                      "End ghost calls: let only your provider reach your SIP ports",
		Long: `ringfence lets only your provider's servers and your own phones reach the SIP
ports of this host and of the network behind it, and drops all other packets. It
resolves the names that phones use to the provider's addresses (RFC 3263) and
keeps them in one nftables table, inet ringfence, or in chains RINGFENCE-* of
iptables. It touches nothing else.`,
		Example: `  ringfence check              is the policy right?
  ringfence diff               what would apply change?
  ringfence apply              put the fence up
  ringfence status             who is allowed, who was dropped?
  ringfence down               take the fence down`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              noSuchCommand,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { return a.prepare(c) },
		RunE: func(c *cobra.Command, _ []string) error {
			if a.version {
				output.Printf(a.stdout, "ringfence %s\n", version())
				return nil
			}
			return c.Help()
		},
	}
	// A template for cobra's own flag would link text/template, and with it every method
	// of every type: a quarter of the program.
	root.Flags().BoolVarP(&a.version, "version", "v", false, "version for ringfence")
	flags := root.PersistentFlags()
	flags.StringVar(&a.policyPath, "policy", fromEnv("RINGFENCE_POLICY", fence.DefaultPolicy), "the policy `file`")
	flags.StringVar(&a.stateDir, "state-dir", fromEnv("RINGFENCE_STATE_DIR", "/var/lib/ringfence"), "the `folder` of addresses and generations")
	flags.StringVar(&a.runDir, "run-dir", fromEnv("RINGFENCE_RUN_DIR", "/run/ringfence"), "the `folder` of the lock")
	flags.StringVarP(&a.output, "output", "o", "text", "text or json")
	flags.StringVar(&a.logLevel, "log-level", "", "debug, info, warn or error (warn, and info for ringfence run)")
	root.AddCommand(
		initCommand(a), checkCommand(a), diffCommand(a), applyCommand(a), confirmCommand(a), watchdogCommand(a), rollbackCommand(a), historyCommand(a),
		refreshCommand(a), runCommand(a), upCommand(a), downCommand(a), statusCommand(a), metricsCommand(a), doctorCommand(a), resolveCommand(a),
		droppedCommand(a), watchCommand(a),
		reportCommand(a),
		banCommand(a), unbanCommand(a), bansCommand(a), allowCommand(a), disallowCommand(a), signaturesCommand(a), providersCommand(a), phoneCommand(a),
		whyCommand(a), replayCommand(a), verifyCommand(a),
		phonesCommand(a),
		demoCommand(a), versionCommand(a), manCommand(a),
	)
	a.complete(root)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return notice.WithHint(flagError(err), "see %s --help", c.CommandPath())
	})
	root.SetHelpCommand(helpCommand(root))
	return root
}

func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Help about a command",
		RunE: func(_ *cobra.Command, args []string) error {
			c, rest, err := root.Find(args)
			if err == nil {
				err = noSuchCommand(root, rest)
			}
			if err != nil {
				return err
			}
			c.InitDefaultHelpFlag()
			return c.Help()
		},
	}
}

// noSuchCommand refuses an unknown command and names similar ones.
func noSuchCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "see ringfence help"
	if near := root.SuggestionsFor(args[0]); len(near) > 0 && args[0] != "" {
		hint = fmt.Sprintf("did you mean ringfence %s?", strings.Join(near, " or "))
	}
	return notice.WithHint(fmt.Errorf("unknown command %q", args[0]), "%s", hint)
}

// noArguments refuses arguments to a command that takes none.
func noArguments(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return notice.WithHint(fmt.Errorf("%s takes no arguments, but got %q", c.CommandPath(), args[0]),
		"to name a policy file: ringfence --policy FILE %s", c.Name())
}

func fromEnv(name, byDefault string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return byDefault
}

// prepare checks the flags that all commands share.
func (a *app) prepare(c *cobra.Command) error {
	for flag, value := range map[string]string{"--policy": a.policyPath, "--state-dir": a.stateDir, "--run-dir": a.runDir} {
		if value == "" {
			return notice.WithHint(fmt.Errorf("%s is empty", flag), "leave it out, or name a path")
		}
	}
	if forms := outputs(a, c, nil); !slices.Contains(forms, a.output) {
		return fmt.Errorf("output %q: write -o %s", a.output, strings.Join(forms, " or -o "))
	}
	level := slog.LevelWarn
	if c.Name() == "run" {
		level = slog.LevelInfo // says who is allowed now, and who is not any more
	}
	if c.Flag("log-level").Changed {
		if err := level.UnmarshalText([]byte(a.logLevel)); err != nil || strings.ContainsAny(a.logLevel, "+-") {
			return fmt.Errorf("log level %q: write debug, info, warn or error", a.logLevel)
		}
	}
	if c.Name() != "run" && c.Name() != "watch" && os.Getenv("GOGC") == "" {
		debug.SetGCPercent(1000)       // it ends before it has used what a collection would free
		debug.SetMemoryLimit(82 << 20) // unless its files are very large
	}
	var handler slog.Handler = slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level})
	if c.Name() != "run" {
		handler = warnings{handler, a}
	}
	if a.stderr.Terminal {
		handler = output.NewHandler(a.stderr, "ringfence", level)
	}
	a.log = slog.New(handler)
	return nil
}

// fence returns what the command works with.
func (a *app) fence() *fence.Fence { return a.fenceFor(a.print) }

// fenceFor does the same with another receiver of notices.
func (a *app) fenceFor(hear notice.Func) *fence.Fence {
	world := a.world
	if world == nil {
		here := fence.System(a.log, a.dial).Remembering(a.runDir)
		world = &here
	}
	c := fence.Config{
		StateDir: a.stateDir, RunDir: a.runDir, PolicyFile: absolute(a.policyPath), User: fence.CallingUser(), Version: version(), Notice: hear, Words: hint.WayOut, Log: a.log,
		Watchdog: a.startWatchdog, Unwatch: stopWatchdog,
	}
	if a.stderr.Terminal {
		c.Progress = func(text string) { output.Println(a.stderr, text) }
	}
	a.work = fence.New(c, *world)
	return a.work
}

// inForce reports whether the command has already changed the kernel as it should.
func (a *app) inForce() bool { return a.work != nil && a.work.InForce() }

func (a *app) json() bool { return a.output == "json" }

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
