package labtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
)

// NFT is a process of the program nft that runs many scripts, one after the other. In a
// test with hundreds of scripts, starting one process for each would take most of the
// time.
type NFT struct {
	in     io.Writer
	out    *bufio.Reader
	number int
}

// StartNFT starts nft in the host. Its listings show handles.
func StartNFT(t testing.TB, n *lab.Namespace) *NFT {
	t.Helper()
	cmd := exec.Command("nft", "--handle", "--interactive")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir()) // where nft writes its history
	in, err := cmd.StdinPipe()
	Must(t, err)
	out, err := cmd.StdoutPipe()
	Must(t, err)
	cmd.Stderr = cmd.Stdout
	Must(t, n.Start(cmd))
	t.Cleanup(func() {
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			t.Errorf("nft: %v", err)
		}
	})
	nft := &NFT{in: in, out: bufio.NewReader(out)}
	nft.Do(t, "") // it may complain about the terminal
	return nft
}

// Do runs a script as one transaction and returns nft's output. An error ends the test.
// The script must not have a line break within braces.
func (n *NFT) Do(t testing.TB, script string) string {
	t.Helper()
	out, err := n.Try(t, script)
	if err != nil {
		t.Fatalf("nft: %v\n%s", err, script)
	}
	return out
}

// Try is like Do, but returns the error.
func (n *NFT) Try(t testing.TB, script string) (string, error) {
	t.Helper()
	// One line is one transaction. The line after it is a mistake that nft repeats in
	// its error message: when that comes, the transaction is done.
	n.number++
	end := fmt.Sprintf("end%d\n", n.number)
	if _, err := io.WriteString(n.in, strings.ReplaceAll(strings.TrimSpace(script), "\n", "; ")+"\n"+end); err != nil {
		t.Fatalf("nft does not read its input any more: %v", err)
	}
	var lines []string
	for len(lines) == 0 || lines[len(lines)-1] != end {
		line, err := n.out.ReadString('\n')
		lines = append(lines, line)
		if err != nil {
			t.Fatalf("nft has ended: %v, after %s\n%s", err, script, strings.Join(lines, ""))
		}
	}
	if _, err := n.out.ReadString('\n'); err != nil { // the line that points at the mistake
		t.Fatalf("nft has ended: %v", err)
	}
	lines = lines[:max(0, len(lines)-2)] // without "Error: syntax error" and the mistake
	out := strings.Join(lines, "")
	if strings.Contains("\n"+out, "\nError: ") {
		return "", errors.New(strings.TrimSpace(out))
	}
	return out, nil
}
