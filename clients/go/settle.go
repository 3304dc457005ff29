package quotagate

import (
	"context"
	"sync"
	"time"

	"github.com/quotagate/quotagate/clients/go/quotagatev1"
)

const (
	// mostTasks bounds what waits to be told to the service; beyond it the oldest
	// is dropped, which only means that its capacity comes back later.
	mostTasks = 1000
	// mostSending bounds what is told at the same time.
	mostSending = 16
	// A task that failed is tried again after this long, doubling to the second.
	firstPause, longestPause = 50 * time.Millisecond, time.Second
	// abortTimeout is how long what is cancelled may take to end.
	abortTimeout = 500 * time.Millisecond
)

// task is a Release or a Report that the service is to be told of.
type task struct {
	client  *Client
	release *quotagatev1.ReleaseRequest // one of these two
	report  *quotagatev1.ReportRequest
	at      instant // of the answer that is reported
	until   instant // the permit's deadline: not tried again after it

	returned *int         // takes the answer of a Release, if set
	then     func(Result) // is told the answer of a Report, if set

	pause time.Duration // before the next try
	due   instant
}

// send tells the service, once.
func (t *task) send(ctx context.Context) (Result, error) {
	ctx, cancel := context.WithTimeout(t.client.outgoing(ctx), t.client.timeout)
	defer cancel()
	if t.release != nil {
		answer, err := t.client.service.Release(ctx, t.release)
		if err == nil && t.returned != nil {
			*t.returned = int(answer.GetReturnedCalls())
		}
		return Result{Told: err == nil}, err
	}
	t.report.CompletedAgo = sinceAnswer(t.at)
	answer, err := t.client.service.Report(ctx, t.report)
	if err != nil {
		return Result{Advice: Continue}, err
	}
	return resultOf(answer), nil
}

// settler tells the service what became of calls, in the background. It has no
// goroutine while there is nothing to tell.
type settler struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	waiting []*task // oldest first
	sending int
	timer   *time.Timer   // set while all that waits waits for its next try
	closed  bool          // nothing more is taken
	idle    chan struct{} // closed once it is closed and nothing is left
}

func newSettler() *settler {
	ctx, cancel := context.WithCancel(context.Background())
	return &settler{ctx: ctx, cancel: cancel, idle: make(chan struct{})}
}

// tell tells the service while the caller waits; if that fails, later.
func (s *settler) tell(ctx context.Context, t *task) Result {
	result, err := t.send(ctx)
	if err != nil && (ctx.Err() != nil || isOutage(err)) {
		t.returned = nil // the caller no longer waits for it
		s.later(t)
	}
	return result
}

// later tells the service in the background.
func (s *settler) later(t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if len(s.waiting) >= mostTasks {
		s.waiting = s.waiting[1:]
	}
	s.waiting = append(s.waiting, t)
	s.pump()
}

// pump sends what is due, as far as there is room. The lock is held.
func (s *settler) pump() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	moment := now()
	next := instant(-1)
	kept := s.waiting[:0]
	for _, t := range s.waiting {
		if t.due <= moment && s.sending < mostSending {
			s.sending++
			go s.attempt(t)
			continue
		}
		if t.due > moment && (next < 0 || t.due < next) {
			next = t.due
		}
		kept = append(kept, t)
	}
	clear(s.waiting[len(kept):])
	s.waiting = kept
	if next >= 0 && s.ctx.Err() == nil {
		s.timer = time.AfterFunc(next.since(moment), func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.pump()
		})
	}
	if s.closed && s.sending == 0 && len(s.waiting) == 0 {
		select {
		case <-s.idle:
		default:
			close(s.idle)
		}
	}
}

func (s *settler) attempt(t *task) {
	result, err := t.send(s.ctx)
	s.attempted(t, err)
	// Last, for it is the caller's code: it may take its time, or close the client.
	if err == nil && t.then != nil {
		t.then(result)
	}
}

// attempted notes that a task was sent, and keeps it where that is to be repeated.
func (s *settler) attempted(t *task, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sending--
	t.pause = min(max(2*t.pause, firstPause), longestPause)
	t.due = now().add(t.pause)
	again := err != nil && isOutage(err) && s.ctx.Err() == nil && t.due < t.until
	if again && len(s.waiting) < mostTasks {
		s.waiting = append(s.waiting, t)
	}
	s.pump()
}

// close takes nothing more, and gives what is left that long.
func (s *settler) close(within time.Duration) {
	s.mu.Lock()
	s.closed = true
	s.pump()
	s.mu.Unlock()

	s.await(within)
	s.cancel()
	s.mu.Lock()
	s.waiting = nil
	s.pump()
	s.mu.Unlock()
	// What was being sent ends with its context, unless an interceptor of the
	// caller's does not heed it.
	s.await(abortTimeout)
}

// await waits until nothing is left, that long at most.
func (s *settler) await(most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-s.idle:
	case <-timer.C:
	}
}
