package fence

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ringfence/ringfence/pkg/feed/https"
	"github.com/ringfence/ringfence/pkg/resolve"
)

// beginFetch asks for lists in the background, and returns a function that waits for the
// answers. Lists in large may be of any size.
func (f *session) beginFetch(ctx context.Context, lists []resolve.List, remembered resolve.Memory, large []string) func() []resolve.ListResult {
	if f.Fetch == nil || len(lists) == 0 {
		return func() []resolve.ListResult { return nil }
	}
	start := time.Now()
	results := make([]resolve.ListResult, len(lists))
	ctx, cancel := context.WithTimeout(ctx, askTime)
	var all sync.WaitGroup
	for i, l := range lists {
		accept := slices.Contains(large, l.URL)
		tag := remembered.Lists.Tag(l)
		if accept {
			tag = resolve.ListTag{} // which list it was is not known
		}
		all.Go(func() {
			results[i] = f.Fetch(ctx, l, tag)
			results[i].Accept = accept
		})
	}
	return func() []resolve.ListResult {
		defer cancel()
		all.Wait()
		f.Log.Debug("asked for lists", "lists", len(lists), "took", time.Since(start))
		return results
	}
}

// fetcher is World.Fetch with a client.
func fetcher(c https.Client) func(context.Context, resolve.List, resolve.ListTag) resolve.ListResult {
	return func(ctx context.Context, l resolve.List, tag resolve.ListTag) resolve.ListResult {
		answer, err := c.Fetch(ctx, https.Request{URL: l.URL, Format: l.Format, ETag: tag.ETag, Modified: tag.Modified})
		return resolve.ListResult{
			URL: l.URL, Err: err, Unchanged: answer.Unchanged, Prefixes: answer.Prefixes,
			Tag: resolve.ListTag{ETag: answer.ETag, Modified: answer.Modified},
		}
	}
}
