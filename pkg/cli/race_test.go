//go:build race

package cli_test

// racing says that the tests have the race detector, which the program that they run
// should have too.
const racing = true
