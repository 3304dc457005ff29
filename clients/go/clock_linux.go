package quotagate

import (
	"time"

	"golang.org/x/sys/unix"
)

// now reads CLOCK_BOOTTIME: the clock of package time stands still while the
// machine is suspended, and a permit would then seem to live longer than it does.
func now() instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return elapsed()
	}
	return instant(ts.Nano())
}

var started = time.Now()

// elapsed is for systems without that clock, such as some sandboxes.
func elapsed() instant { return instant(time.Since(started)) }
