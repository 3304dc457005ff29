package quotagate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/quotagate/quotagate/clients/go/quotagatev1"
)

const (
	testWindow = 10 * time.Second
	testShare  = 12
)

func windowLimit(max, share uint64) *quotagatev1.LimitUsage {
	return &quotagatev1.LimitUsage{
		Name: "w", Kind: quotagatev1.LimitKind_LIMIT_KIND_WINDOW,
		Scope: quotagatev1.LimitScope_LIMIT_SCOPE_EXECUTION_USER, Identity: "ann",
		Max: max, OutageShare: share, Window: durationpb.New(testWindow),
	}
}

func slotLimit(max, share uint64) *quotagatev1.LimitUsage {
	return &quotagatev1.LimitUsage{
		Name: "s", Kind: quotagatev1.LimitKind_LIMIT_KIND_CONCURRENCY,
		Scope: quotagatev1.LimitScope_LIMIT_SCOPE_ORG, Identity: "acme",
		Max: max, OutageShare: share, Window: durationpb.New(testWindow),
	}
}

func TestASafePolicyGrantsItsPartOfEveryLimit(t *testing.T) {
	uncapped, shadow := windowLimit(0, 0), windowLimit(90, 0)
	shadow.Shadow = &quotagatev1.Shadow{}
	other := windowLimit(30, 6)
	other.Name = "other"
	rows := []struct {
		name      string
		limits    []*quotagatev1.LimitUsage
		processes int
		wanted    ask
		granted   int
	}{
		{"nothing was ever said", nil, 1, ask{1, 1, 1}, 0},
		{"all of the share", []*quotagatev1.LimitUsage{windowLimit(90, 9)}, 1, ask{9, 9, 1}, 9},
		{"more than the share", []*quotagatev1.LimitUsage{windowLimit(90, 9)}, 1, ask{10, 10, 1}, 0},
		{"as many as there is room for", []*quotagatev1.LimitUsage{windowLimit(90, 9)}, 1, ask{10, 1, 1}, 9},
		{"the part is rounded down", []*quotagatev1.LimitUsage{windowLimit(90, 9)}, 4, ask{3, 1, 1}, 2},
		{"a part of less than one is none", []*quotagatev1.LimitUsage{windowLimit(90, 9)}, 10, ask{1, 1, 1}, 0},
		{"no share", []*quotagatev1.LimitUsage{windowLimit(90, 0)}, 1, ask{1, 1, 1}, 0},
		{"no cap, and no other limit", []*quotagatev1.LimitUsage{uncapped}, 1, ask{1, 1, 1}, 0},
		{"a limit that refuses nothing, and no other", []*quotagatev1.LimitUsage{shadow}, 1, ask{1, 1, 1}, 0},
		{"what bounds nothing is left out", []*quotagatev1.LimitUsage{uncapped, shadow, windowLimit(90, 9)}, 1, ask{9, 9, 1}, 9},
		{"the least of all limits", []*quotagatev1.LimitUsage{windowLimit(90, 9), other}, 1, ask{9, 1, 1}, 6},
		{"a window takes the cost", []*quotagatev1.LimitUsage{windowLimit(90, 9)}, 1, ask{9, 1, 4}, 2},
		{"slots do not", []*quotagatev1.LimitUsage{slotLimit(25, 5)}, 1, ask{9, 1, 4}, 5},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s, q := newShares(), question{"acme", "", "op", "ann"}
			s.learn(q, "ann", row.limits)
			user, taken := s.take(1, q, row.processes, row.wanted)
			granted := 0
			if taken != nil {
				granted = len(taken.calls)
			}
			if granted != row.granted || granted > 0 && user != "ann" {
				t.Errorf("%d granted to %q, want %d", granted, user, row.granted)
			}
		})
	}
}

func TestAnOrgHasOneLogHoweverItIsSpelled(t *testing.T) {
	s := newShares()
	granted := 0
	spellings := []*quotagatev1.AcquireRequest{
		{Org: "00D3h000007R1Lu", ExecutionUser: "0053V000000vD5q"},
		{Org: "00D3h000007R1LuEAK", ExecutionUser: "0053V000000vD5qQAE"},
		{Org: "00D3h000007R1LueaK", ExecutionUser: "0053V000000vD5qqae"},
	}
	for _, request := range spellings {
		s.learn(questionOf(request), "0053V000000vD5qQAE", []*quotagatev1.LimitUsage{windowLimit(90, 9)})
	}
	for _, request := range spellings {
		user, taken := s.take(1, questionOf(request), 1, ask{9, 1, 1})
		if taken != nil {
			granted += len(taken.calls)
			if user != "0053V000000vD5qQAE" {
				t.Errorf("they are to be made as %q", user)
			}
		}
	}
	if granted != 9 {
		t.Errorf("%d granted of 9", granted)
	}
}

func TestAnIDIsSpelledAsTheServiceDoes(t *testing.T) {
	for _, row := range []struct{ prefix, name, want string }{
		{userPrefix, "0053V000000vD5q", "0053V000000vD5qQAE"},
		{orgPrefix, "00D3h000007R1Lu", "00D3h000007R1LuEAK"},
		{orgPrefix, "00D3h000007R1LuEAK", "00D3h000007R1LuEAK"},
		{orgPrefix, "00D3h000007R1Lueak", "00D3h000007R1LuEAK"},
		{orgPrefix, "00D3h000007R1LuEAA", "00D3h000007R1LuEAA"}, // refused
		{orgPrefix, "00D3h000007r1Lu", "00D3h000007r1LuEAI"},    // another org
		{userPrefix, "00D3h000007R1Lu", "00D3h000007R1Lu"},
		{orgPrefix, "00D3h000007R-Lu", "00D3h000007R-Lu"},
		{orgPrefix, "00D3h000007R1Ü", "00D3h000007R1Ü"},
		{orgPrefix, "00D", "00D"},
		{orgPrefix, "acme", "acme"},
		{orgPrefix, "", ""},
	} {
		if got := canonicalID(row.prefix, row.name); got != row.want {
			t.Errorf("%q is %q, want %q", row.name, got, row.want)
		}
	}
}

func TestAPlaceComesBackWhenItsCallIsCertainlyOver(t *testing.T) {
	const start = instant(time.Hour)
	rows := []struct {
		name    string
		limit   *quotagatev1.LimitUsage
		settle  func(*taken)
		freedAt time.Duration // after the start
	}{
		{"never reported", windowLimit(90, 1), func(*taken) {}, outageLife + travel + testWindow},
		{"answered after 2 s", windowLimit(90, 1), func(k *taken) { k.answered(0, start.add(2*time.Second)) }, 2*time.Second + testWindow},
		{"never sent", windowLimit(90, 1), func(k *taken) { k.giveBack(0) }, 0},
		{"slot, never reported", slotLimit(5, 1), func(*taken) {}, outageLife + travel + testWindow},
		{"slot, answered after 2 s", slotLimit(5, 1), func(k *taken) { k.answered(0, start.add(2*time.Second)) }, 2 * time.Second},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s, q := newShares(), question{"acme", "", "op", "ann"}
			s.learn(q, "ann", []*quotagatev1.LimitUsage{row.limit})
			_, first := s.take(start, q, 1, ask{1, 1, 1})
			row.settle(first)
			if row.freedAt > 0 {
				if _, early := s.take(start.add(row.freedAt-1), q, 1, ask{1, 1, 1}); early != nil {
					t.Error("granted a moment too early")
				}
			}
			if _, next := s.take(start.add(row.freedAt), q, 1, ask{1, 1, 1}); next == nil {
				t.Error("not granted in time")
			}
		})
	}
}

func TestOnlyAnAnswerOfSalesforceMovesAPlace(t *testing.T) {
	for status, moved := range map[int]bool{0: false, 204: true, 429: true, 499: true, 500: false, 503: false} {
		s, q := newShares(), question{"acme", "", "op", "ann"}
		s.learn(q, "ann", []*quotagatev1.LimitUsage{windowLimit(90, 1)})
		_, taken := s.take(now(), q, 1, ask{1, 1, 1})
		before := taken.calls[0][0].until
		permit := newOutagePermit(nil, "ann", 1, taken)
		permit.Report(context.Background(), 0, Answer{Status: status})
		permit.Close()
		if after := taken.calls[0][0].until; (after < before) != moved {
			t.Errorf("after %d it counts until %v, before until %v", status, after, before)
		}
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	s := newShares()
	for i := range mostQuestions + 100 {
		s.learn(question{org: fmt.Sprint(i)}, "", []*quotagatev1.LimitUsage{windowLimit(90, 9)})
	}
	if len(s.known) != mostQuestions {
		t.Errorf("%d questions are remembered", len(s.known))
	}
}

func TestSafeSharesAreNeverOverrun(t *testing.T) {
	for seed := range uint64(200) {
		expectNoOverrun(t, seed, uint8(seed))
	}
}

func FuzzSafeSharesAreNeverOverrun(f *testing.F) {
	f.Add(uint64(1), uint8(1))
	f.Fuzz(expectNoOverrun)
}

// expectNoOverrun runs processes that know nothing of each other, with callers as
// nasty as they may be: whatever they do, no window sees more arrivals than the
// share.
func expectNoOverrun(t *testing.T, seed uint64, others uint8) {
	dice := rand.New(rand.NewPCG(seed, 1))
	processes := int(others%5) + 1
	var arrivals []instant
	for range processes {
		arrivals = append(arrivals, runProcess(dice, processes)...)
	}
	slices.Sort(arrivals)
	for i := testShare; i < len(arrivals); i++ {
		// Half-open: a call that comes a whole window later is in the next one.
		if within := arrivals[i].since(arrivals[i-testShare]); within < testWindow {
			t.Fatalf("seed %d: %d calls came within %v, the share is %d", seed, testShare+1, within, testShare)
		}
	}
}

// runProcess makes calls for a while, and returns when they arrived.
func runProcess(dice *rand.Rand, processes int) (arrivals []instant) {
	s, q := newShares(), question{"acme", "", "op", "ann"}
	s.learn(q, "ann", []*quotagatev1.LimitUsage{windowLimit(90, testShare)})
	type outcome struct {
		at      instant
		ordinal int
		of      *taken
	}
	var answers []outcome
	within := func(d time.Duration) time.Duration {
		switch dice.IntN(3) { // the edges are where faults are
		case 0:
			return 0
		case 1:
			return d
		default:
			return time.Duration(dice.Int64N(int64(d) + 1))
		}
	}
	at := instant(time.Minute)
	for range 300 {
		at = at.add(within(3 * time.Second))
		for i := 0; i < len(answers); i++ { // what was answered by now is reported now
			if answers[i].at <= at {
				answers[i].of.answered(answers[i].ordinal, answers[i].at)
				answers = slices.Delete(answers, i, i+1)
				i--
			}
		}
		calls := dice.IntN(4) + 1
		_, taken := s.take(at, q, processes, ask{calls: calls, least: 1, cost: 1})
		if taken == nil {
			continue
		}
		sent := dice.IntN(len(taken.calls) + 1)
		for ordinal := range sent {
			arrival := at.add(within(outageLife)).add(within(travel))
			arrivals = append(arrivals, arrival)
			if dice.IntN(2) == 0 {
				answers = append(answers, outcome{arrival.add(within(time.Second)), ordinal, taken})
			}
		}
		taken.giveBack(sent)
	}
	return arrivals
}
