package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/demo"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/policy"
)

func demoCommand(a *app) *cobra.Command {
	without, chosen := false, ""
	command := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole product on a private network, in seconds",
		Long: `demo builds a small internet of network namespaces: a provider whose registrar
only NAPTR and SRV records name, a scanner, a PBX, and a phone behind a router
that translates. It sends calls and scans by UDP and TCP, IPv4 and IPv6, without
a fence and with one, moves the registrar to another address, makes a mistake,
and rolls back. Then a phone on the road registers, and somebody guesses
passwords. It needs root. The network of this machine, its firewall and the
policy of this host are not touched, and nothing is left behind.

Exit status: 0 everything was as it should be, 1 otherwise; also 1 if the
classifier is not part of it, unless --without-classifier is given.`,
		Example: `  sudo ringfence demo
  sudo go run ./cmd/ringfence demo     from the source`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runDemo(c.Context(), a, chosen, without) },
	}
	command.Flags().StringVar(&chosen, "backend", "", "the back end, as in the policy: nftables, iptables, iptables-legacy or iptables-nft")
	command.Flags().BoolVar(&without, "without-classifier", false, "run without the classifier, which recognises scanners (eBPF)")
	return command
}

// runDemo builds the demo's network and runs the demo in it.
func runDemo(ctx context.Context, a *app, chosen string, without bool) (err error) {
	start := time.Now()
	if chosen != "" && !slices.Contains(fence.BackendNames(), chosen) {
		return fmt.Errorf("read --backend: %q is none of %s", chosen, strings.Join(fence.BackendNames(), ", "))
	}
	a.progress("building a small internet …")
	d, err := demo.New(demoOptions(a, chosen, without))
	defer func() { err = errors.Join(err, d.Close()) }()
	if err != nil {
		if errors.Is(err, unix.EPERM) {
			return notice.WithHint(err, "run it as root, because the demo makes network namespaces: sudo ringfence demo")
		}
		return err
	}
	report, err := d.Play(ctx)
	if report != nil && a.json() {
		if err := a.writeJSON(report); err != nil {
			return err
		}
	}
	if errors.Is(err, demo.ErrWithoutClassifier) {
		return notice.WithHint(err, "to run the demo without it: ringfence demo --without-classifier")
	}
	if err != nil {
		return err
	}
	if !a.json() {
		output.Printf(a.stdout, "\nEverything was as it should be, in %.1f s. Nothing is left behind.\n", time.Since(start).Seconds())
	}
	return nil
}

func demoOptions(a *app, chosen string, without bool) demo.Options {
	machine := fence.System(a.log, nil)
	kernel := machine.Backend(policy.Backend(cmp.Or(chosen, string(policy.BackendAuto))))
	o := demo.Options{
		Backend: chosen, WithoutClassifier: without, Out: a.stdout, Progress: a.progress, Run: runOnHost,
		Good: func(text string) string { return output.Paint(output.Green, text) },
		Bad:  func(text string) string { return output.Paint(output.Yellow, text) }, Wrong: view.Alarm,
		Counters: kernel, Classifier: machine.Classifier,
	}
	if a.json() {
		o.Out = io.Discard
	}
	return o
}

// runOnHost runs a command on a host of the lab, with its files in a folder, and
// returns its output. An alarm is a part of it, every other exit status but 0 an error.
func runOnHost(ctx context.Context, h *lab.Namespace, folder string, args []string) (string, error) {
	var out, errs bytes.Buffer
	sub := &app{stdin: strings.NewReader(""), stdout: output.NewWriter(&out, &out), stderr: output.NewWriter(&errs, &errs)}
	sub.dial = func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = h.Do(func() error {
			conn, err = new(net.Dialer).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
	root := sub.root()
	root.SetArgs(append([]string{
		"--policy", filepath.Join(folder, "policy.yaml"), "--state-dir", filepath.Join(folder, "state"), "--run-dir", filepath.Join(folder, "run"),
	}, args...))
	status := 0
	err := h.Do(func() error {
		status = sub.fail(root.ExecuteContext(ctx))
		return nil
	})
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err == nil && status != exitDone && status != exitPartly {
		err = fmt.Errorf("ringfence %s on the %s: exit status %d: %s", strings.Join(args, " "), h.Name, status, strings.TrimSpace(errs.String()))
	}
	return out.String() + errs.String(), err
}
