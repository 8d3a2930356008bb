package host

// Change is something that has happened to what a fence depends on.
type Change struct {
	// What says it in a few words, as in "interface ppp0 has come".
	What string
	// Path is the file that it has happened to, "" if it was none.
	Path string
	// Urgent says that packets may come in that no rule knows of before the rest of what
	// belongs to the change has happened: an interface has come.
	Urgent bool
	// Lost says that there was more than there was room for.
	Lost bool
}
