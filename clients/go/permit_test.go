package quotagate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/quotagate/quotagate/clients/go/quotagatev1"
)

// fake answers as it is told, and remembers what it was asked.
type fake struct {
	quotagatev1.UnimplementedQuotaServiceServer
	acquire func(*quotagatev1.AcquireRequest) (*quotagatev1.AcquireResponse, error)
	settle  func() error // what Release and Report answer; nil is: well

	mu       sync.Mutex
	callers  []string
	releases []*quotagatev1.ReleaseRequest
	reports  []*quotagatev1.ReportRequest
}

func (f *fake) Acquire(ctx context.Context, r *quotagatev1.AcquireRequest) (*quotagatev1.AcquireResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.callers = append(f.callers, metadata.ValueFromIncomingContext(ctx, callerHeader)...)
	if f.acquire != nil {
		return f.acquire(r)
	}
	return granted(r), nil
}

func (f *fake) Release(_ context.Context, r *quotagatev1.ReleaseRequest) (*quotagatev1.ReleaseResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.settle != nil {
		if err := f.settle(); err != nil {
			return nil, err
		}
	}
	f.releases = append(f.releases, r)
	return &quotagatev1.ReleaseResponse{ReturnedCalls: 7}, nil
}

func (f *fake) Report(_ context.Context, r *quotagatev1.ReportRequest) (*quotagatev1.ReportResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.settle != nil {
		if err := f.settle(); err != nil {
			return nil, err
		}
	}
	f.reports = append(f.reports, r)
	return &quotagatev1.ReportResponse{Advice: quotagatev1.Advice_ADVICE_BACK_OFF, BackOff: durationpb.New(time.Second)}, nil
}

func granted(r *quotagatev1.AcquireRequest) *quotagatev1.AcquireResponse {
	return &quotagatev1.AcquireResponse{Outcome: &quotagatev1.AcquireResponse_Permit{Permit: &quotagatev1.Permit{
		PermitId: "permit", Calls: max(r.GetCalls(), 1), Ttl: durationpb.New(time.Minute),
	}}}
}

func (f *fake) start(t *testing.T, opts ...Option) *Client {
	t.Helper()
	address := serve(t, func(s *grpc.Server) { quotagatev1.RegisterQuotaServiceServer(s, f) })
	return newClient(t, []string{address}, append([]Option{WithTimeout(5 * time.Second)}, opts...)...)
}

// settled is what was released (-1: all) and reported, as text, in any order.
func (f *fake) settled() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []string
	for _, r := range f.releases {
		if r.UnusedCalls == nil {
			list = append(list, "release all")
		} else {
			list = append(list, fmt.Sprintf("release %d", r.GetUnusedCalls()))
		}
	}
	for _, r := range f.reports {
		list = append(list, fmt.Sprintf("report %d+%d: %d", r.GetFirstCall(), r.GetCalls(), r.GetHttpStatus()))
	}
	slices.Sort(list)
	return list
}

func (s *settler) isIdle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sending == 0 && len(s.waiting) == 0
}

func TestAPermitIsSettledWhenItIsClosed(t *testing.T) {
	report := func(p *Permit, ordinals ...int) {
		for _, ordinal := range ordinals {
			p.Report(context.Background(), ordinal, Answer{Status: 200})
		}
	}
	rows := []struct {
		name         string
		calls, start int
		do           func(*Permit)
		want         []string
	}{
		{"nothing was started", 3, 0, func(*Permit) {}, []string{"release all"}},
		{"all was started, nothing reported", 3, 3, func(*Permit) {}, []string{"report 0+3: 0"}},
		{"one was started and reported", 3, 1, func(p *Permit) { report(p, 0) }, []string{"release 2", "report 0+1: 200"}},
		{"holes are reported as ranges", 6, 5, func(p *Permit) { report(p, 0, 3) },
			[]string{"release 1", "report 0+1: 200", "report 1+2: 0", "report 3+1: 200", "report 4+1: 0"}},
		{"all is settled", 2, 2, func(p *Permit) { report(p, 0, 1) }, []string{"report 0+1: 200", "report 1+1: 200"}},
		{"it was released", 3, 0, func(p *Permit) { p.Release(context.Background()) }, []string{"release all"}},
		{"the start was taken back", 1, 1, (*Permit).unstart, []string{"release all"}},
		{"a start that was reported is not taken back", 1, 1, func(p *Permit) { report(p, 0); p.unstart() }, []string{"report 0+1: 200"}},
		{"a range was reported at once", 4, 0, func(p *Permit) { p.ReportRange(context.Background(), 0, 3, Answer{Status: 200}) },
			[]string{"release 1", "report 0+3: 200"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			service := &fake{}
			client := service.start(t)
			permit := acquire(t, client, Request{Org: "acme", Operation: "rest", Calls: row.calls})
			for range row.start {
				if _, err := permit.Start(); err != nil {
					t.Fatal(err)
				}
			}
			row.do(permit)
			permit.Close()
			permit.Close()
			if _, err := permit.Start(); !errors.Is(err, ErrPermitExpired) {
				t.Errorf("a closed permit starts: %v", err)
			}
			_ = client.Close()
			if got := service.settled(); !slices.Equal(got, row.want) {
				t.Errorf("the service was told %q, want %q", got, row.want)
			}
		})
	}
}

func TestAPermitStartsEachCallOnceAndNoneTooLate(t *testing.T) {
	client := (&fake{}).start(t)
	permit := acquire(t, client, Request{Org: "acme", Operation: "rest", Calls: 100})
	var mu sync.Mutex
	var ordinals []int
	var threads sync.WaitGroup
	for range 8 {
		threads.Add(1)
		go func() {
			defer threads.Done()
			for {
				ordinal, err := permit.Start()
				if err != nil {
					return
				}
				mu.Lock()
				ordinals = append(ordinals, ordinal)
				mu.Unlock()
			}
		}()
	}
	threads.Wait()
	slices.Sort(ordinals)
	if len(ordinals) != 100 || len(slices.Compact(ordinals)) != 100 {
		t.Errorf("%d calls were started", len(ordinals))
	}

	late := acquire(t, client, Request{Org: "acme", Operation: "rest"})
	if late.Remaining() <= 0 || time.Until(late.Deadline()) <= 0 {
		t.Error("it has no time at all")
	}
	late.deadline = now()
	if _, err := late.Start(); !errors.Is(err, ErrPermitExpired) || late.Remaining() != 0 {
		t.Errorf("an expired permit starts: %v", err)
	}
}

func TestAResultCarriesTheAdvice(t *testing.T) {
	client := (&fake{}).start(t)
	permit := acquire(t, client, Request{Org: "acme", Operation: "rest"})
	defer permit.Close()
	result := permit.Report(context.Background(), 0, Answer{Status: 503})
	if !result.Told || result.Advice != BackOff || result.BackOff != time.Second {
		t.Errorf("it is %+v", result)
	}
}

func TestAllTriesCarryTheSameNamesAndIDs(t *testing.T) {
	var ids []string
	service := &fake{}
	service.acquire = func(r *quotagatev1.AcquireRequest) (*quotagatev1.AcquireResponse, error) {
		ids = append(ids, r.GetRequestId())
		if len(ids)%3 != 0 {
			return nil, status.Error(codes.Unavailable, "no owner now")
		}
		return granted(r), nil
	}
	client := service.start(t, WithCaller("billing"))
	for range 2 {
		acquire(t, client, Request{Org: "acme", Operation: "rest"}).Close()
	}
	service.mu.Lock()
	defer service.mu.Unlock()
	if len(ids) != 6 || len(slices.Compact(slices.Clone(ids))) != 2 || len(ids[0]) != 36 {
		t.Errorf("the ids are %q", ids)
	}
	if len(service.callers) != 6 || slices.ContainsFunc(service.callers, func(c string) bool { return c != "billing" }) {
		t.Errorf("the callers are %q", service.callers)
	}
}

func TestWhatCannotBeToldNowIsToldLater(t *testing.T) {
	failures := 20 // more than gRPC's own four tries of each, twice
	service := &fake{}
	service.settle = func() error {
		if failures--; failures >= 0 {
			return status.Error(codes.Unavailable, "no owner now")
		}
		return nil
	}
	client := service.start(t)
	permit := acquire(t, client, Request{Org: "acme", Operation: "rest", Calls: 2})
	if result := permit.Report(context.Background(), 0, Answer{Status: 200}); result.Told || result.Advice != Continue {
		t.Errorf("the result is %+v", result)
	}
	permit.Close()
	want := []string{"release 1", "report 0+1: 200"}
	eventually(t, "the service is told", func() bool { return slices.Equal(service.settled(), want) })
}

func TestWhatWaitsToBeToldIsBounded(t *testing.T) {
	noLeak := watchLeaks(t)
	client := newClient(t, []string{"127.0.0.1:1"}, WithTimeout(faultTimeout))
	for range 2 * mostTasks {
		newPermit(client, &quotagatev1.Permit{PermitId: "p", Calls: 1, Ttl: durationpb.New(time.Minute)}, now()).Close()
	}
	client.settler.mu.Lock()
	waiting := len(client.settler.waiting)
	client.settler.mu.Unlock()
	if waiting > mostTasks {
		t.Errorf("%d wait", waiting)
	}
	began := time.Now()
	_ = client.Close()
	if took := time.Since(began); took > flushTimeout+faultLeeway {
		t.Errorf("it took %v to close", took)
	}
	if _, err := client.Acquire(context.Background(), compressed); !errors.Is(err, ErrClientClosed) {
		t.Errorf("a closed client says %v", err)
	}
	noLeak()
}

func TestACloseWaitsForNoCodeOfTheCallers(t *testing.T) {
	settle := func(t *testing.T, client *Client, then func(Result)) {
		permit := acquire(t, client, Request{Org: "acme", Operation: "rest"})
		ordinal, err := permit.Start()
		if err != nil {
			t.Fatal(err)
		}
		permit.reportLater(ordinal, Answer{Status: 200}, then)
	}
	closes := func(t *testing.T, client *Client, within time.Duration) {
		t.Helper()
		closed := make(chan struct{})
		go func() { client.settler.close(within); close(closed) }()
		select {
		case <-closed:
		case <-time.After(within + abortTimeout + 10*time.Second):
			t.Error("it does not end")
		}
	}
	t.Run("one that hangs over the result", func(t *testing.T) {
		client := (&fake{}).start(t)
		told, release := make(chan struct{}), make(chan struct{})
		defer close(release)
		settle(t, client, func(Result) { close(told); <-release })
		<-told
		began := time.Now()
		closes(t, client, time.Minute)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
	})
	t.Run("one that closes the client", func(t *testing.T) {
		client := (&fake{}).start(t)
		closed := make(chan struct{})
		settle(t, client, func(Result) { _ = client.Close(); close(closed) })
		select {
		case <-closed:
		case <-time.After(10 * time.Second):
			t.Error("it does not end")
		}
	})
	t.Run("one that heeds no context", func(t *testing.T) {
		stuck, release := make(chan struct{}), make(chan struct{})
		defer close(release)
		client := (&fake{}).start(t, WithDialOptions(grpc.WithUnaryInterceptor(
			func(ctx context.Context, method string, r, answer any, conn *grpc.ClientConn, do grpc.UnaryInvoker, o ...grpc.CallOption) error {
				if method == quotagatev1.QuotaService_Report_FullMethodName {
					close(stuck)
					<-release
				}
				return do(ctx, method, r, answer, conn, o...)
			})))
		settle(t, client, nil)
		<-stuck
		closes(t, client, 10*time.Millisecond)
	})
}

func TestTheServiceConfigIsTheCommonOne(t *testing.T) {
	common, err := os.ReadFile(filepath.Join(repository, "clients/service_config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if string(common) != serviceConfig {
		t.Error("clients/go/service_config.json is to be a copy of clients/service_config.json")
	}
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	for name, make := range map[string]func() (*Client, error){
		"no server":     func() (*Client, error) { return New(nil) },
		"no port":       func() (*Client, error) { return New([]string{"a:1", "b"}) },
		"no time":       func() (*Client, error) { return New([]string{"a:1"}, WithTimeout(0)) },
		"nobody's part": func() (*Client, error) { return New([]string{"a:1"}, WithOutage(Safe(0))) },
	} {
		if client, err := make(); err == nil {
			_ = client.Close()
			t.Errorf("%s: no error", name)
		}
	}
}
