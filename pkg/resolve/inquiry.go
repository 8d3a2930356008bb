package resolve

import "context"

// Inquiry is a list of names to ask for, with what decides whether to ask twice.
type Inquiry struct {
	Targets  []Target
	Memory   Memory
	Settings Settings
	// Large are the names whose answers may have any number of records.
	Large []string
}

// Ask asks for all names with first, and again with again for those of which nearly
// everything has changed. It returns a result for each target, in their order, followed
// by those of the second time.
func (i Inquiry) Ask(ctx context.Context, first, again Lookup) []Result {
	limit := i.Memory.Limit(i.Large)
	results := Resolver{Lookup: first, Limit: limit}.Resolve(ctx, i.Targets)
	if twice := i.Memory.Suspicious(results, i.Settings); len(twice) > 0 {
		results = append(results, Resolver{Lookup: again, Limit: limit}.Resolve(ctx, twice)...)
	}
	return results
}
