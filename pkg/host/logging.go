package host

import "fmt"

// Program is a running one.
type Program struct {
	Name string
	PID  int
}

// String is its name with the number of its process.
func (p Program) String() string { return fmt.Sprintf("%s (pid %d)", p.Name, p.PID) }
