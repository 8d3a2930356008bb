package host

// Change is a change of something that a fence depends on.
type Change struct {
	// What describes it in a few words, as in "interface ppp0 has come".
	What string
	// Path is the changed file, "" if it is not a file.
	Path string
	// Urgent says that packets unknown to the rules may come in before the rest of the
	// change is reported: a new interface.
	Urgent bool
	// Lost says that there were more changes than could be reported.
	Lost bool
}
