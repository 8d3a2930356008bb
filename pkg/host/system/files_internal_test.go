package system

import (
	"os"
	"path/filepath"
	"testing"
)

// TestAnotherFolder: a folder that is put in the place of the one where a file is missing
// is seen, also if it is missing there too and the move itself is not reported.
func TestAnotherFolder(t *testing.T) {
	top := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	folder := filepath.Join(top, "journal")
	must(os.Mkdir(folder, 0o755))
	must(os.Mkdir(filepath.Join(top, "copy"), 0o755))
	f, err := newFiles([]string{filepath.Join(folder, "begun")})
	must(err)
	defer f.close()
	before := f.states()
	must(os.Rename(folder, filepath.Join(top, "old")))
	must(os.Rename(filepath.Join(top, "copy"), folder))
	must(f.update())
	if now := f.states()[f.paths[0]]; now == before[f.paths[0]] {
		t.Errorf("both are %q", now)
	}
}
