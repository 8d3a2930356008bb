package metrics

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/prometheus/procfs"
)

// ofProcess returns what Prometheus' own libraries give of a program in Go, by the same
// names, so that their dashboards work. What /proc does not have is missing.
func ofProcess() *list {
	l := &list{}
	ofGo(l)
	memory(l)
	p, err := procfs.Self()
	if err != nil {
		return l
	}
	if stat, err := p.Stat(); err == nil {
		l.add(counter, "process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", stat.CPUTime(), nil)
		l.gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", float64(stat.VirtualMemory()))
		l.gauge("process_resident_memory_bytes", "Resident memory size in bytes.", float64(stat.ResidentMemory()))
		if start, err := stat.StartTime(); err == nil {
			l.gauge("process_start_time_seconds", "Start time of the process since the Unix epoch in seconds.", start)
		}
	}
	if n, err := p.FileDescriptorsLen(); err == nil {
		l.gauge("process_open_fds", "Number of open file descriptors.", float64(n))
	}
	if limits, err := p.Limits(); err == nil {
		l.gauge("process_max_fds", "Maximum number of open file descriptors.", float64(limits.OpenFiles))
		l.gauge("process_virtual_memory_max_bytes", "Maximum amount of virtual memory available in bytes.", float64(limits.AddressSpace))
	}
	return l
}

// ofGo adds what the runtime of Go does.
func ofGo(l *list) {
	l.gauge("go_info", "Information about the Go environment; the value is always 1.", 1, "version", runtime.Version())
	l.gauge("go_goroutines", "Number of goroutines that currently exist.", float64(runtime.NumGoroutine()))
	threads, _ := runtime.ThreadCreateProfile(nil)
	l.gauge("go_threads", "Number of threads of the operating system created.", float64(threads))
	l.gauge("go_sched_gomaxprocs_threads", "How many threads may execute Go code at once.", float64(runtime.GOMAXPROCS(0)))
	set := []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/gomemlimit:bytes"}}
	metrics.Read(set)
	l.gauge("go_gc_gogc_percent", "How much the heap may grow before garbage collection, in percent: GOGC.", float64(set[0].Value.Uint64()))
	l.gauge("go_gc_gomemlimit_bytes", "The memory that the runtime should not exceed: GOMEMLIMIT.", float64(set[1].Value.Uint64()))

	const name, help = "go_gc_duration_seconds", "A summary of the time for which garbage collection stops the program."
	gc := debug.GCStats{PauseQuantiles: make([]time.Duration, 5)}
	debug.ReadGCStats(&gc)
	for i, quantile := range []string{"0", "0.25", "0.5", "0.75", "1"} {
		l.add(summary, name, help, gc.PauseQuantiles[i].Seconds(), []string{"quantile", quantile})
	}
	l.put(summary, name, help, "_sum", gc.PauseTotal.Seconds())
	l.put(summary, name, help, "_count", float64(gc.NumGC))
}

// memory adds what the runtime of Go has in memory.
func memory(l *list) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	l.counter("go_memstats_alloc_bytes_total", "Bytes allocated in the heap until now, even if released.", m.TotalAlloc)
	l.counter("go_memstats_frees_total", "Objects of the heap that were freed.", m.Frees)
	l.counter("go_memstats_mallocs_total", "Objects of the heap that were allocated.", m.Mallocs)
	l.gauge("go_memstats_last_gc_time_seconds", "When the last garbage collection ended, in seconds since 1970.", float64(m.LastGC)/1e9)
	for _, of := range []struct {
		name, help string
		value      uint64
	}{
		{"alloc_bytes", "Bytes allocated in the heap and in use.", m.Alloc},
		{"buck_hash_sys_bytes", "Bytes used by the table of profiles.", m.BuckHashSys},
		{"gc_sys_bytes", "Bytes used by garbage collection itself.", m.GCSys},
		{"heap_alloc_bytes", "Bytes of the heap that are allocated and in use.", m.HeapAlloc},
		{"heap_idle_bytes", "Bytes of the heap that wait to be used.", m.HeapIdle},
		{"heap_inuse_bytes", "Bytes of the heap that are in use.", m.HeapInuse},
		{"heap_objects", "Objects that are allocated.", m.HeapObjects},
		{"heap_released_bytes", "Bytes of the heap that the system has back.", m.HeapReleased},
		{"heap_sys_bytes", "Bytes of the heap that the system has given.", m.HeapSys},
		{"mcache_inuse_bytes", "Bytes in use by structures of mcache.", m.MCacheInuse},
		{"mcache_sys_bytes", "Bytes for structures of mcache that the system has given.", m.MCacheSys},
		{"mspan_inuse_bytes", "Bytes in use by structures of mspan.", m.MSpanInuse},
		{"mspan_sys_bytes", "Bytes for structures of mspan that the system has given.", m.MSpanSys},
		{"next_gc_bytes", "The size of the heap at which garbage collection begins.", m.NextGC},
		{"other_sys_bytes", "Bytes for all else that the system has given.", m.OtherSys},
		{"stack_inuse_bytes", "Bytes in use by stacks.", m.StackInuse},
		{"stack_sys_bytes", "Bytes for stacks that the system has given.", m.StackSys},
		{"sys_bytes", "Bytes that the system has given.", m.Sys},
	} {
		l.gauge("go_memstats_"+of.name, of.help, float64(of.value))
	}
}
