package quotagate

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/quotagate/quotagate/clients/go/quotagatev1"
)

// Origin tells who let the calls of a permit pass.
type Origin string

const (
	// FromService is the service's decision.
	FromService Origin = "service"
	// FromOutage is the outage policy's: nobody else knows of these calls.
	FromOutage Origin = "outage"
)

// outageLife is how long a permit of an outage policy lives.
const outageLife = 5 * time.Second

// Permit is the right to start calls until its deadline. Each call is one request
// on the wire: [Permit.Start] it, send it, [Permit.Report] what was answered.
// Always Close it: that gives back what was never started.
type Permit struct {
	// ID names the permit at the service; empty if Origin is FromOutage.
	ID string
	// Calls is how many may be started.
	Calls int
	// ExecutionUser is the Salesforce user to make them as; empty where the
	// operation does not depend on one.
	ExecutionUser string
	// Limits are those that were charged, as they stood after the grant.
	Limits []*quotagatev1.LimitUsage
	// ClassState is the state of the workspace's traffic classes, nil where no
	// workspace was named.
	ClassState *quotagatev1.ClassState
	// Origin tells whether the service or the outage policy let the calls pass.
	Origin Origin

	client   *Client
	deadline instant
	taken    *taken // of a safe policy's permit: its places in the local log

	mu      sync.Mutex
	started int
	settled []bool // by ordinal: reported, with an answer or without
	ended   bool   // given back or closed: nothing more may start
}

func newPermit(c *Client, granted *quotagatev1.Permit, sent instant) *Permit {
	return &Permit{
		ID:            granted.GetPermitId(),
		Calls:         int(granted.GetCalls()),
		ExecutionUser: granted.GetExecutionUser(),
		Limits:        granted.GetLimits(),
		ClassState:    granted.GetClassState(),
		Origin:        FromService,
		client:        c,
		deadline:      sent.add(granted.GetTtl().AsDuration()),
		settled:       make([]bool, granted.GetCalls()),
	}
}

func newOutagePermit(c *Client, user string, calls int, taken *taken) *Permit {
	return &Permit{
		Calls:         calls,
		ExecutionUser: user,
		Origin:        FromOutage,
		client:        c,
		deadline:      now().add(outageLife),
		taken:         taken,
		settled:       make([]bool, calls),
	}
}

// Remaining is how long calls may still be started; 0 once that is over.
func (p *Permit) Remaining() time.Duration { return max(p.deadline.since(now()), 0) }

// Deadline is the moment until which calls may be started, for a context's
// deadline. Start decides by a clock that runs on while the machine sleeps.
func (p *Permit) Deadline() time.Time { return time.Now().Add(p.deadline.since(now())) }

// Start takes the next call, which the caller now sends. It returns the call's
// ordinal, counted from 0, for Report; or [ErrPermitExpired].
func (p *Permit) Start() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.ended:
		return 0, fmt.Errorf("%w: it was given back", ErrPermitExpired)
	case p.started >= p.Calls:
		return 0, fmt.Errorf("%w: all %d are started", ErrPermitExpired, p.Calls)
	case p.Remaining() == 0:
		return 0, fmt.Errorf("%w: its time is over", ErrPermitExpired)
	}
	p.started++
	return p.started - 1, nil
}

// Advice is what to do after an answer.
type Advice string

const (
	// Continue says: go on.
	Continue Advice = "CONTINUE"
	// BackOff says: wait before the next call.
	BackOff Advice = "BACK_OFF"
	// Stop says: do not try again before somebody has mended something.
	Stop Advice = "STOP"
)

// Result is what the service says to a report.
type Result struct {
	// Advice is Continue where the service gave none.
	Advice Advice
	// BackOff is how long to wait, for Advice BackOff.
	BackOff time.Duration
	// AlreadySettled is true if the report held nothing new.
	AlreadySettled bool
	// ClassState is the state of the workspace's traffic classes, if it had one.
	ClassState *quotagatev1.ClassState
	// Told is false where the service could not be told yet. That is tried again
	// in the background, while the permit lives.
	Told bool
}

// Report tells what Salesforce answered to the call of that ordinal. It frees
// capacity early, so do it at once. It does not fail: see Result.Told.
func (p *Permit) Report(ctx context.Context, ordinal int, answer Answer) Result {
	return p.ReportRange(ctx, ordinal, 1, answer)
}

// ReportRange tells one outcome of the calls [first, first+calls).
func (p *Permit) ReportRange(ctx context.Context, first, calls int, answer Answer) Result {
	task, result := p.settle(first, calls, answer)
	if task == nil {
		return result
	}
	return p.client.settler.tell(ctx, task)
}

// reportLater is Report in the background; then, if given, is told the result.
func (p *Permit) reportLater(ordinal int, answer Answer, then func(Result)) {
	if task, _ := p.settle(ordinal, 1, answer); task != nil {
		task.then = then
		p.client.settler.later(task)
	}
}

// Release gives back what was never started, and returns how many calls the
// service took back. Nothing can be started after it. It does not fail: what
// cannot be told now is told in the background, and counted as 0 here.
func (p *Permit) Release(ctx context.Context) int {
	if p.Origin == FromOutage {
		return p.end()
	}
	task := p.release(p.end())
	if task == nil {
		return 0
	}
	returned := 0
	task.returned = &returned
	p.client.settler.tell(ctx, task)
	return returned
}

// Close settles the permit, in the background: calls that were never started are
// given back; those that were started and not reported are reported as without an
// answer, and so count as sent. A second Close does nothing.
func (p *Permit) Close() {
	if task := p.release(p.end()); task != nil {
		p.client.settler.later(task)
	}
	for _, lost := range p.unreported() {
		if task, _ := p.settle(lost.first, lost.calls, Answer{}); task != nil {
			p.client.settler.later(task)
		}
	}
}

// unstart takes back the last Start: the caller vouches that nothing of that call
// was sent.
func (p *Permit) unstart() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started > 0 && !p.settled[p.started-1] {
		p.started--
	}
}

// end lets nothing more start, and returns how many calls were never started; 0
// if it had ended before.
func (p *Permit) end() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return 0
	}
	p.ended = true
	unused := p.Calls - p.started
	p.taken.giveBack(p.started)
	return unused
}

// release makes the task that gives calls back; nil if there is nothing to give.
func (p *Permit) release(unused int) *task {
	if unused == 0 || p.Origin == FromOutage || p.Remaining() == 0 {
		return nil
	}
	request := &quotagatev1.ReleaseRequest{PermitId: p.ID}
	if unused < p.Calls {
		number := uint32(unused)
		request.UnusedCalls = &number
	}
	return &task{client: p.client, release: request, until: p.deadline}
}

type span struct{ first, calls int }

// unreported lists the ranges of calls that were started and never reported.
func (p *Permit) unreported() []span {
	p.mu.Lock()
	defer p.mu.Unlock()
	var spans []span
	for ordinal, settled := range p.settled[:p.started] {
		last := len(spans) - 1
		switch {
		case settled:
		case last >= 0 && spans[last].first+spans[last].calls == ordinal:
			spans[last].calls++
		default:
			spans = append(spans, span{first: ordinal, calls: 1})
		}
	}
	return spans
}

// settle notes a report, and makes the task that tells the service; nil where
// only the local log is to know.
func (p *Permit) settle(first, calls int, answer Answer) (*task, Result) {
	answer.complete()
	p.mu.Lock()
	defer p.mu.Unlock()
	for ordinal := max(first, 0); ordinal < min(first+max(calls, 1), p.Calls); ordinal++ {
		p.settled[ordinal] = true
		// What is reported was sent, so it can no more be given back.
		p.started = max(p.started, ordinal+1)
		if answer.moves() {
			p.taken.answered(ordinal, answer.at)
		}
	}
	if p.Origin == FromOutage {
		return nil, Result{Advice: Continue, Told: true}
	}
	report := answer.message()
	report.PermitId, report.FirstCall, report.Calls = p.ID, count(first), count(calls)
	return &task{client: p.client, report: report, at: answer.at, until: p.deadline}, Result{}
}

// resultOf reads the service's answer to a report.
func resultOf(answer *quotagatev1.ReportResponse) Result {
	result := Result{
		Advice:         Continue,
		AlreadySettled: answer.GetAlreadySettled(),
		ClassState:     answer.GetClassState(),
		Told:           true,
	}
	switch answer.GetAdvice() {
	case quotagatev1.Advice_ADVICE_BACK_OFF:
		result.Advice, result.BackOff = BackOff, answer.GetBackOff().AsDuration()
	case quotagatev1.Advice_ADVICE_STOP:
		result.Advice = Stop
	}
	return result
}

// sinceAnswer is what a report says of its age.
func sinceAnswer(at instant) *durationpb.Duration {
	return durationpb.New(max(now().since(at), 0))
}
