// Command ringfence lets only your provider's servers reach your SIP ports.
package main

import (
	"os"

	"github.com/ringfence/ringfence/pkg/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
