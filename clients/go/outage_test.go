package quotagate

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/quotagate/quotagate/clients/go/quotagatev1"
)

const (
	// faultTimeout is what the clients of these tests are given to decide.
	faultTimeout = 500 * time.Millisecond
	// faultLeeway is how much longer an answer may take on a busy machine.
	faultLeeway = 500 * time.Millisecond
)

// shareOfAll is what outage.yaml keeps of the 90 of compressed.get.
const shareOfAll = 18

var compressed = Request{Org: "outage", Operation: "compressed.get", ExecutionUser: "ann"}

// A fault is a way not to get a decision. asked tells whether the client got one
// before it; then a safe policy has something to stand on.
type fault struct {
	name  string
	asked bool
	// begin returns where the client connects, and what brings the fault about.
	begin func(*testing.T) (address string, strike func())
}

var faults = []fault{
	{"killed", true, func(t *testing.T) (string, func()) {
		p := server(t, "outage.yaml", "")
		return p.said["gRPC"], p.stop
	}},
	{"frozen", true, func(t *testing.T) (string, func()) {
		p := server(t, "outage.yaml", "")
		return p.said["gRPC"], func() { p.signal(syscall.SIGSTOP) }
	}},
	{"not there", false, func(t *testing.T) (string, func()) {
		listener := listen(t, func(net.Conn) {})
		_ = listener.Close()
		return listener.Addr().String(), func() {}
	}},
	{"slow: accepts and never answers", false, func(t *testing.T) (string, func()) {
		return listen(t, func(net.Conn) {}).Addr().String(), func() {}
	}},
	{"garbage: bytes that are no HTTP/2", false, func(t *testing.T) (string, func()) {
		return listen(t, func(c net.Conn) {
			_, _ = c.Write([]byte("220 mail.example.com ESMTP\r\n"))
		}).Addr().String(), func() {}
	}},
	{"another service", false, func(t *testing.T) (string, func()) {
		return serve(t, func(*grpc.Server) {}), func() {}
	}},
	{"an answer without a decision", false, func(t *testing.T) (string, func()) {
		return serve(t, func(s *grpc.Server) {
			quotagatev1.RegisterQuotaServiceServer(s, &fake{
				acquire: func(*quotagatev1.AcquireRequest) (*quotagatev1.AcquireResponse, error) {
					return &quotagatev1.AcquireResponse{}, nil
				},
			})
		}), func() {}
	}},
}

func TestEachClassDoesInAnOutageWhatItsPolicySays(t *testing.T) {
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			address, strike := fault.begin(t)
			noLeak := watchLeaks(t)
			client := newClient(t, []string{address}, WithTimeout(faultTimeout), WithLogger(silent()),
				WithOutage(Open, Interactive), WithOutage(Safe(2), Event))
			if fault.asked {
				acquire(t, client, compressed).Close()
				eventually(t, "it gives the call back", func() bool { return client.settler.isIdle() })
			}
			strike()
			for _, row := range []struct {
				class Class
				calls int
			}{{Bulk, 0}, {Control, 0}, {Interactive, 1}, {Event, map[bool]int{true: 1}[fault.asked]}} {
				request := compressed
				request.Class = row.class
				began := time.Now()
				permit, err := client.Acquire(context.Background(), request)
				if took := time.Since(began); took > faultTimeout+faultLeeway {
					t.Errorf("%v took %v", row.class, took)
				}
				expectOutage(t, row.class, permit, err, row.calls)
				if permit != nil {
					permit.Close()
				}
			}
			if err := client.Close(); err != nil {
				t.Error(err)
			}
			noLeak()
		})
	}
}

func expectOutage(t *testing.T, class Class, permit *Permit, err error, calls int) {
	t.Helper()
	if calls == 0 {
		var unavailable *UnavailableError
		if !errors.As(err, &unavailable) || permit != nil {
			t.Errorf("%v: %v, want an UnavailableError", class, err)
		}
		return
	}
	if err != nil {
		t.Errorf("%v: %v", class, err)
	} else if permit.Origin != FromOutage || permit.ID != "" || permit.Calls != calls {
		t.Errorf("%v: the permit is %q of %s for %d", class, permit.ID, permit.Origin, permit.Calls)
	}
}

func TestASafePolicyGoesOnWithItsPartOfTheShare(t *testing.T) {
	p := server(t, "outage.yaml", "")
	client := newClient(t, []string{p.said["gRPC"]}, WithTimeout(faultTimeout), WithLogger(silent()),
		WithOutage(Safe(2)))
	all := compressed
	all.Calls = 90 - shareOfAll
	acquire(t, client, all).Close()
	p.stop()

	round := func() {
		t.Helper()
		request := compressed
		request.Calls, request.MinCalls = 90, 1
		permit := acquire(t, client, request)
		if permit.Calls != shareOfAll/2 || permit.ExecutionUser != "ann" {
			t.Fatalf("%d calls as %q, want %d", permit.Calls, permit.ExecutionUser, shareOfAll/2)
		}
		if _, err := client.Acquire(context.Background(), compressed); err == nil {
			t.Error("more than its part was granted")
		}
		for range permit.Calls - 1 {
			ordinal, err := permit.Start()
			if err != nil {
				t.Fatal(err)
			}
			permit.Report(context.Background(), ordinal, Answer{Status: 200})
		}
		permit.Close() // gives the last one back
		acquire(t, client, compressed).Close()
	}
	round()
	eventually(t, "what was answered leaves the window", func() bool {
		request := compressed
		request.Calls = shareOfAll / 2
		permit, err := client.Acquire(context.Background(), request)
		if err == nil {
			permit.Close()
		}
		return err == nil
	})
	round()
}

func TestAClientOfTwoServersGoesOnWithTheOther(t *testing.T) {
	first, second := server(t, "outage.yaml", ""), server(t, "outage.yaml", "")
	client := newClient(t, []string{first.said["gRPC"], second.said["gRPC"]}, WithOutage(Open))
	for i := range 60 {
		if i == 20 {
			first.stop()
		}
		permit := acquire(t, client, Request{Org: "moved", Operation: "rest"})
		if permit.Origin != FromService {
			t.Fatalf("request %d was not decided", i)
		}
		permit.Close()
	}
}

func TestAClientFindsAServerThatCameBackAndTellsOfEachOutageOnce(t *testing.T) {
	p := server(t, "outage.yaml", "")
	address := p.said["gRPC"]
	var told bytes.Buffer // read when nobody writes any more
	log := slog.New(slog.NewTextHandler(&told, nil))
	client := newClient(t, []string{address}, WithOutage(Open), WithLogger(log))
	origin := func() Origin {
		permit := acquire(t, client, compressed)
		permit.Close()
		return permit.Origin
	}
	if origin() != FromService {
		t.Fatal("the server does not decide")
	}
	p.stop()
	for range 3 {
		if origin() != FromOutage {
			t.Fatal("somebody decided")
		}
	}
	server(t, "outage.yaml", address)
	eventually(t, "the client finds it", func() bool { return origin() == FromService })
	if warned := strings.Count(told.String(), "WARN"); warned != 1 || strings.Count(told.String(), "again") != 1 {
		t.Errorf("it is told %d times: %s", warned, told.String())
	}
}

// Where many wait already, no user of the org's pool may be chosen: such a denial names
// fewer limits than a permit is charged to.
func TestADenialForAFullQueueTeachesNothing(t *testing.T) {
	for name, before := range map[string]bool{"asked before": true, "never asked": false} {
		t.Run(name, func(t *testing.T) {
			ofOrg := slotLimit(25, 20)
			answers := []*quotagatev1.AcquireResponse{{Outcome: &quotagatev1.AcquireResponse_Denial{Denial: &quotagatev1.Denial{
				Reason: quotagatev1.DenialReason_DENIAL_REASON_QUEUE_FULL, Limits: []*quotagatev1.LimitUsage{ofOrg},
			}}}}
			service := &fake{acquire: func(r *quotagatev1.AcquireRequest) (*quotagatev1.AcquireResponse, error) {
				if len(answers) == 0 {
					return nil, status.Error(codes.Internal, "nothing more is decided")
				}
				answer := answers[0]
				answers = answers[1:]
				return answer, nil
			}}
			client := service.start(t, WithLogger(silent()), WithOutage(Safe(1)))
			request := Request{Org: "acme", Operation: "op", Calls: 10, MinCalls: 1}
			if before {
				permit := granted(request.message())
				permit.GetPermit().Limits = []*quotagatev1.LimitUsage{ofOrg, windowLimit(90, 2)}
				permit.GetPermit().ExecutionUser = "ann"
				answers = append([]*quotagatev1.AcquireResponse{permit}, answers...)
				acquire(t, client, request)
			}
			var denied *DeniedError
			if _, err := client.Acquire(context.Background(), request); !errors.As(err, &denied) {
				t.Fatalf("it is not denied: %v", err)
			}
			permit, err := client.Acquire(context.Background(), request)
			switch {
			case before && (err != nil || permit.Calls != 2 || permit.ExecutionUser != "ann"):
				t.Errorf("%+v (%v), want 2 calls as ann", permit, err)
			case !before && err == nil:
				t.Errorf("%d calls are granted as %q", permit.Calls, permit.ExecutionUser)
			}
		})
	}
}

// Each server is called by its own name and port, when its health is asked, too.
func TestEachOfSeveralServersIsCalledByItsName(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]"} {
		t.Run(host, func(t *testing.T) {
			var mu sync.Mutex
			called := map[string]bool{} // by method and authority
			note := func(ctx context.Context, method string) {
				mu.Lock()
				defer mu.Unlock()
				called[method+" "+strings.Join(metadata.ValueFromIncomingContext(ctx, ":authority"), "|")] = true
			}
			var servers []string
			want := map[string]bool{}
			for range 2 {
				listener, err := net.Listen("tcp", host+":0")
				if err != nil {
					t.Skip(err) // no IPv6 here
				}
				s := grpc.NewServer(
					grpc.UnaryInterceptor(func(ctx context.Context, r any, info *grpc.UnaryServerInfo, do grpc.UnaryHandler) (any, error) {
						note(ctx, info.FullMethod)
						return do(ctx, r)
					}),
					grpc.StreamInterceptor(func(of any, stream grpc.ServerStream, info *grpc.StreamServerInfo, do grpc.StreamHandler) error {
						note(stream.Context(), info.FullMethod)
						return do(of, stream)
					}))
				quotagatev1.RegisterQuotaServiceServer(s, &fake{})
				serveOn(t, s, listener)
				_, port, _ := net.SplitHostPort(listener.Addr().String())
				servers = append(servers, host+":"+port)
				for _, method := range []string{quotagatev1.QuotaService_Acquire_FullMethodName, healthpb.Health_Watch_FullMethodName} {
					want[method+" "+host+":"+port] = true
				}
			}
			client := newClient(t, servers, WithTimeout(5*time.Second))
			eventually(t, "both are asked", func() bool {
				acquire(t, client, Request{Org: "acme", Operation: "rest"})
				mu.Lock()
				defer mu.Unlock()
				return len(called) >= len(want)
			})
			mu.Lock()
			defer mu.Unlock()
			if !maps.Equal(called, want) {
				t.Errorf("they are called %v, want %v", called, want)
			}
		})
	}
}

func TestTheServiceKnowsTheNamesThatItsServersAreCalledBy(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		t.Run(host, func(t *testing.T) {
			if listener, err := net.Listen("tcp", host+":0"); err != nil {
				t.Skip(err) // no IPv6 here
			} else {
				_ = listener.Close()
			}
			var servers []string
			for range 2 {
				servers = append(servers, server(t, "outage.yaml", host+":0").said["gRPC"])
			}
			client := newClient(t, servers, WithTimeout(5*time.Second))
			for range 4 {
				acquire(t, client, Request{Org: "acme", Operation: "rest"}).Close()
			}
		})
	}
}

func TestAnAuthorityIsOneForAnyHost(t *testing.T) {
	for _, row := range []struct{ host, want string }{
		{"a.example", "a.example:7400"}, {"10.0.0.1", "10.0.0.1:7400"}, {"::1", "[::1]:7400"},
		{"fe80::1%eth0", "[fe80::1]:7400"}, {"", "localhost:7400"},
	} {
		if got := authorityOf(row.host, "7400"); got != row.want {
			t.Errorf("%q is called %q, want %q", row.host, got, row.want)
		}
	}
}

func silent() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func TestAContextEndsTheWait(t *testing.T) {
	client := newClient(t, []string{listen(t, func(net.Conn) {}).Addr().String()}, WithTimeout(time.Minute), WithOutage(Open))
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.Acquire(ctx, compressed); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it ended with %v", err)
	}
}

// listen accepts connections, and does that to each; they stay open until the
// other side closes them.
func listen(t *testing.T, do func(net.Conn)) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve := func(connection net.Conn) {
		defer connection.Close()
		do(connection)
		_, _ = io.Copy(io.Discard, connection)
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(connection)
		}
	}()
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// serve runs a gRPC server in this process.
func serve(t *testing.T, register func(*grpc.Server)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	register(s)
	serveOn(t, s, listener)
	return listener.Addr().String()
}

// serveOn lets the server answer there, and say that it is healthy.
func serveOn(t *testing.T, s *grpc.Server, listener net.Listener) {
	t.Helper()
	state := health.NewServer()
	state.SetServingStatus("quotagate.v1.QuotaService", healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(s, state)
	go func() { _ = s.Serve(listener) }()
	t.Cleanup(s.Stop)
}

// watchLeaks returns what fails if there then are goroutines of clients, or open
// files, that were not there before.
func watchLeaks(t *testing.T) func() {
	t.Helper()
	goroutines, files := clientGoroutines(), openFiles()
	return func() {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for clientGoroutines() > goroutines || openFiles() > files {
			if time.Now().After(deadline) {
				t.Fatalf("left: %d goroutines, %d files; before: %d, %d",
					clientGoroutines(), openFiles(), goroutines, files)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func clientGoroutines() (number int) {
	stacks := make([]byte, 8<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for _, stack := range strings.Split(string(stacks), "\n\n") {
		isServer := strings.Contains(stack, "grpc.(*Server)") || strings.Contains(stack, "transport.NewServerTransport")
		if !isServer && (strings.Contains(stack, "google.golang.org/grpc") || strings.Contains(stack, "quotagate.(*settler)")) {
			number++
		}
	}
	return number
}

func openFiles() int {
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0 // another system: the goroutines tell
	}
	return len(files)
}
