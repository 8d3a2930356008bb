package cli

import "time"

// LookEvery sets the interval at which run looks at everything whatever happens.
func LookEvery(d time.Duration) { lookEvery = d }
