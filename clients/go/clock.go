package quotagate

import "time"

// instant is a moment on this machine's clock that never steps back and, where
// the system has one, runs on while the machine sleeps: time since an origin that
// is the same for the whole process. The life of a permit is measured by it.
type instant time.Duration

func (i instant) add(d time.Duration) instant { return i + instant(d) }

func (i instant) since(earlier instant) time.Duration { return time.Duration(i - earlier) }
