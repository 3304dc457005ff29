//go:build !linux

package quotagate

import (
	"sync/atomic"
	"time"
)

var (
	started = time.Now()
	latest  atomic.Int64
)

// now is the later of what the monotonic clock and the wall clock say: the former
// may stand still while the machine sleeps, and too late a moment only ends a
// permit early. It never steps back.
func now() instant {
	t := time.Now()
	reading := int64(max(t.Sub(started), t.Round(0).Sub(started.Round(0))))
	for {
		seen := latest.Load()
		if reading <= seen {
			return instant(seen)
		}
		if latest.CompareAndSwap(seen, reading) {
			return instant(reading)
		}
	}
}
