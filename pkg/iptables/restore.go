package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	goiptables "github.com/coreos/go-iptables/iptables"
)

// This file runs what the library has no call for: iptables-save, and iptables-restore
// for whole chains. A change of rules takes one call of some milliseconds then, and
// not a call for each rule, which takes seconds.

// readTries is how often a table is read until that works. Rules are read first and then the
// names of their sets: that fails if another run has taken a set away meanwhile.
const readTries = 5

// save reads a table.
func (t *tool) save(ctx context.Context, w where) (savedTable, error) {
	if !t.reads(w) {
		return savedTable{}, nil
	}
	var text string
	var err error
	for range readTries {
		text, err = run(ctx, t.paths[w.v6]+"-save", nil, "-c", "-t", w.table)
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w", w, err)
	}
	if strings.Contains(text, "is incompatible, use 'nft' tool") {
		return nil, fmt.Errorf("read table %s: nft has put a rule into it that iptables cannot read: look at it with nft list table %s %s, or use backend: nftables",
			w, map[bool]string{false: "ip", true: "ip6"}[w.v6], w.table)
	}
	return parseSave(text), nil
}

// restore does commands of iptables-restore to a table: all of them, or none.
func (t *tool) restore(ctx context.Context, w where, commands []string) error {
	if len(commands) == 0 {
		return nil
	}
	input := "*" + w.table + "\n" + strings.Join(commands, "\n") + "\nCOMMIT\n"
	_, err := run(ctx, t.paths[w.v6]+"-restore", []byte(input), "--noflush", "--counters", "--wait", strconv.Itoa(lockSeconds))
	if err != nil {
		return fmt.Errorf("change table %s: %w", w, err)
	}
	return nil
}

// run runs a program and returns its output.
func run(ctx context.Context, path string, input []byte, arguments ...string) (string, error) {
	var output, problem bytes.Buffer
	command := exec.CommandContext(ctx, path, arguments...)
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), &output, &problem
	if err := command.Run(); err != nil {
		if _, ran := errors.AsType[*exec.ExitError](err); !ran {
			return "", fmt.Errorf("run %s: %w", path, err)
		}
		return "", programError(command.ProcessState.ExitCode(), problem.String())
	}
	return output.String() + problem.String(), nil
}

// The exit codes of iptables (include/xtables.h).
const (
	exitResource = 4 // no permission, or the lock is held
)

// toolError is programError for an error of the library.
func toolError(err error) error {
	if failed, ok := errors.AsType[*goiptables.Error](err); ok {
		return programError(failed.ExitStatus(), failed.Error())
	}
	return err
}

// programError is the error of a program, with what a user can do.
func programError(code int, text string) error {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "Try `") && !strings.HasPrefix(line, "Error occurred at line") {
			lines = append(lines, line)
		}
	}
	text = strings.Join(lines, "; ")
	switch {
	case strings.Contains(text, "Permission denied") || strings.Contains(text, "Operation not permitted"):
		return fmt.Errorf("%w (%s)", errDenied, text)
	case code == exitResource && strings.Contains(text, "xtables lock"):
		return fmt.Errorf("another program has been changing iptables for %d s: %s", lockSeconds, text)
	case strings.Contains(text, "Failed to initialize nft"), strings.Contains(text, "Could not fetch rule set generation id: Invalid argument"):
		return missing("this iptables needs nf_tables, which the kernel lacks: load the module nf_tables, or use backend: iptables-legacy (" + text + ")")
	case strings.Contains(text, "can't initialize ip") || strings.Contains(text, "unable to initialize table") || strings.Contains(text, "Table does not exist"):
		return missing("this kernel lacks a table of iptables: load iptable_raw, iptable_mangle, iptable_filter, ip6table_raw, ip6table_mangle and ip6table_filter (" + text + ")")
	}
	return fmt.Errorf("exit status %d: %s", code, text)
}
