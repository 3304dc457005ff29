package quotagate

import (
	"fmt"
	"sync"
	"time"

	"github.com/quotagate/quotagate/clients/go/quotagatev1"
)

// OutagePolicy says what happens to the calls of a traffic class while nothing
// can be decided: the service cannot be reached, is too slow, or answers garbage.
type OutagePolicy struct {
	kind      outageKind
	processes int
}

type outageKind int

const (
	outageClosed outageKind = iota
	outageOpen
	outageSafe
)

var (
	// Closed lets nothing pass: Acquire fails with an [*UnavailableError].
	Closed = OutagePolicy{kind: outageClosed}
	// Open lets everything pass, uncounted: Salesforce itself may then refuse.
	Open = OutagePolicy{kind: outageOpen}
)

// Safe lets pass what cannot overrun a limit: this process's part of each limit's
// outage_share, which the service never grants. It stands on what the service
// last said of the same question; what was never asked before, or has no limit, is
// closed.
//
// The share is divided statically. processes is how many processes may use their
// part within one window of a limit, those that were restarted meanwhile included.
func Safe(processes int) OutagePolicy { return OutagePolicy{kind: outageSafe, processes: processes} }

func (p OutagePolicy) String() string {
	switch p.kind {
	case outageOpen:
		return "open"
	case outageSafe:
		return fmt.Sprintf("safe(%d)", p.processes)
	default:
		return "closed"
	}
}

const (
	// travel is how long after a permit's expiry the last byte of a call that was
	// started before it may still arrive.
	travel = 5 * time.Second
	// mostQuestions bounds what is remembered of the service's answers.
	mostQuestions = 10_000
)

// question is what tells one kind of request from another. An org has one log,
// however its id is spelled.
type question struct{ org, workspace, operation, user string }

func questionOf(r *quotagatev1.AcquireRequest) question {
	return question{
		org:       canonicalID(orgPrefix, r.GetOrg()),
		workspace: r.GetWorkspace(),
		operation: r.GetOperation(),
		user:      canonicalID(userPrefix, r.GetExecutionUser()),
	}
}

// limitKey names a limit.
type limitKey struct {
	org      string
	scope    quotagatev1.LimitScope
	identity string
	name     string
	kind     quotagatev1.LimitKind
}

// limitShare is one limit's part that the service never grants.
type limitShare struct {
	key    limitKey
	units  uint64 // for all processes together
	window time.Duration
}

// known is what the last answer to a question said.
type known struct {
	user   string // to make the calls as
	shares []limitShare
}

// ask is how much is asked for.
type ask struct{ calls, least, cost int }

// shares keeps, for each limit, a log of the calls that were made while the
// service could not be asked, so that they never exceed this process's part of
// the limit's share in any window.
type shares struct {
	mu    sync.Mutex
	known map[question]known
	log   map[limitKey][]*place
}

// place is one call in the log of one limit.
type place struct {
	units  uint64
	window time.Duration
	slots  bool
	until  instant // it counts before this
}

// taken is one permit's places, by ordinal.
type taken struct {
	of    *shares
	calls [][]*place
}

func newShares() *shares {
	return &shares{known: map[question]known{}, log: map[limitKey][]*place{}}
}

// learn takes over what an answer says of the limits. The user is the permit's;
// a denial has none.
func (s *shares) learn(q question, user string, limits []*quotagatev1.LimitUsage) {
	if len(limits) == 0 {
		return // says nothing: the operation has no limit at all
	}
	answer := known{user: user}
	for _, limit := range limits {
		if answer.user == "" && limit.GetScope() == quotagatev1.LimitScope_LIMIT_SCOPE_EXECUTION_USER {
			answer.user = limit.GetIdentity()
		}
		if limit.GetMax() == 0 || limit.GetShadow() != nil {
			continue // no cap, or one that refuses nothing
		}
		answer.shares = append(answer.shares, limitShare{
			key: limitKey{
				org: q.org, scope: limit.GetScope(), identity: limit.GetIdentity(),
				name: limit.GetName(), kind: limit.GetKind(),
			},
			units:  limit.GetOutageShare(),
			window: limit.GetWindow().AsDuration(),
		})
	}
	if q.user != "" {
		answer.user = q.user
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, again := s.known[q]; !again && len(s.known) >= mostQuestions {
		for any := range s.known {
			delete(s.known, any) // what is forgotten is closed, until it is asked again
			break
		}
	}
	s.known[q] = answer
}

// take finds room for the calls in every limit that they touch. It returns nil
// where there is none, or where no limit is known that would bound them.
func (s *shares) take(at instant, q question, processes int, wanted ask) (user string, _ *taken) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer, ok := s.known[q]
	if !ok || len(answer.shares) == 0 {
		return "", nil
	}
	calls := uint64(wanted.calls)
	for _, share := range answer.shares {
		part := share.units / uint64(processes)
		used := s.used(at, share.key)
		calls = min(calls, (part-min(used, part))/share.unitsOf(wanted.cost))
	}
	if calls < uint64(wanted.least) || calls == 0 {
		return "", nil
	}
	taken := &taken{of: s, calls: make([][]*place, calls)}
	for i := range taken.calls {
		for _, share := range answer.shares {
			place := &place{
				units:  share.unitsOf(wanted.cost),
				window: share.window,
				slots:  share.key.kind == quotagatev1.LimitKind_LIMIT_KIND_CONCURRENCY,
				until:  at.add(outageLife + travel + share.window),
			}
			taken.calls[i] = append(taken.calls[i], place)
			s.log[share.key] = append(s.log[share.key], place)
		}
	}
	return answer.user, taken
}

// unitsOf is what one call takes. Not every window counts the cost, but the answer
// does not say which do, and too much is safe. A call takes one slot, whatever it
// costs.
func (l limitShare) unitsOf(cost int) uint64 {
	if l.key.kind == quotagatev1.LimitKind_LIMIT_KIND_CONCURRENCY {
		return 1
	}
	return uint64(cost)
}

// used sums what counts now, and forgets what no longer does.
func (s *shares) used(at instant, key limitKey) uint64 {
	var units uint64
	kept := s.log[key][:0]
	for _, place := range s.log[key] {
		if place.until > at {
			kept = append(kept, place)
			units += place.units
		}
	}
	clear(s.log[key][len(kept):])
	if len(kept) == 0 {
		delete(s.log, key)
	} else {
		s.log[key] = kept
	}
	return units
}

// answered says that Salesforce was done with the call at that moment.
func (t *taken) answered(ordinal int, at instant) {
	if t == nil {
		return
	}
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	for _, place := range t.calls[ordinal] {
		place.until = at
		if !place.slots {
			place.until = at.add(place.window)
		}
	}
}

// giveBack says that the calls from that ordinal on were never sent.
func (t *taken) giveBack(from int) {
	if t == nil {
		return
	}
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	for _, call := range t.calls[from:] {
		for _, place := range call {
			place.until = 0
		}
	}
}
