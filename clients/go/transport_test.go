package quotagate

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/quotagate/quotagate/clients/go/quotagatev1"
)

const path = "/services/data/v66.0/limits"

// charged is how much of the org's total is used.
func charged(t *testing.T, client *Client, org string) uint64 {
	t.Helper()
	answer, err := client.Service().GetUsage(context.Background(), &quotagatev1.GetUsageRequest{Org: org})
	if err != nil {
		return 0 // nobody has asked for that org yet
	}
	return answer.GetUsage().GetLimits()[0].GetUsedByCaller()
}

// Each attempt on the wire takes a permit of its own; what certainly was not sent
// comes back; what may have been sent counts.
func TestOnePermitIsOneRequestOnTheWire(t *testing.T) {
	ok := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	moved := "HTTP/1.1 302 Found\r\nLocation: " + path + "?again\r\nContent-Length: 0\r\n\r\n"
	rows := []struct {
		org     string
		answers []string // one per request on the wire; "" closes the connection instead
		methods []string
		failed  int
		charged uint64
	}{
		{"wire-ok", []string{ok, ok}, []string{"GET", "POST"}, 0, 2},
		{"wire-redirect", []string{moved, ok}, []string{"GET"}, 0, 2},
		{"wire-stale", []string{ok, "", ok}, []string{"GET", "GET"}, 0, 3},
		{"wire-stale-body", []string{ok, "", ok}, []string{"GET", "GET with a body"}, 0, 3},
		{"wire-stale-post", []string{ok, ""}, []string{"GET", "POST"}, 1, 2},
		{"wire-lost", []string{""}, []string{"GET"}, 1, 1},
		{"wire-none", nil, []string{"GET", "POST"}, 2, 0},
	}
	for _, row := range rows {
		t.Run(row.org, func(t *testing.T) {
			client := newClient(t, []string{sharedAddress(t)}, WithTimeout(5*time.Second))
			wire := script(t, row.answers)
			base := &http.Transport{}
			defer base.CloseIdleConnections()
			caller := http.Client{Transport: NewTransport(base, client, Options{Org: row.org})}
			failed := 0
			for _, name := range row.methods {
				method, withBody, _ := strings.Cut(name, " ")
				var body io.Reader
				if method == "POST" || withBody != "" {
					body = strings.NewReader("body")
				}
				request, err := http.NewRequest(method, wire+path, body)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := caller.Do(request)
				if err != nil {
					failed++
					continue
				}
				if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "ok" {
					t.Errorf("the body is %q (%v)", text, err)
				}
				_ = resp.Body.Close()
			}
			if failed != row.failed {
				t.Errorf("%d failed, want %d", failed, row.failed)
			}
			eventually(t, "all is settled", func() bool { return client.settler.isIdle() })
			if got := charged(t, client, row.org); got != row.charged {
				t.Errorf("%d were charged, want %d", got, row.charged)
			}
		})
	}
}

func TestNothingIsSentAfterThePermitsTime(t *testing.T) {
	const life = 200 * time.Millisecond
	slow := func(ctx context.Context, network, address string) (net.Conn, error) {
		time.Sleep(2 * life)
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	for _, row := range []struct {
		name    string
		dial    func(context.Context, string, string) (net.Conn, error)
		answers time.Duration // after the request has come
		wrapped bool
		arrived int32
	}{
		{"a slow connection", slow, 0, false, 0},
		{"a slow connection of another base", slow, 0, true, 0},
		{"a slow answer", nil, 2 * life, false, 1},
		{"a slow answer to another base", nil, 2 * life, true, 1},
	} {
		for _, method := range []string{"GET", "POST"} {
			t.Run(row.name+" "+method, func(t *testing.T) {
				service := &fake{acquire: func(r *quotagatev1.AcquireRequest) (*quotagatev1.AcquireResponse, error) {
					answer := granted(r)
					answer.GetPermit().Ttl = durationpb.New(life)
					return answer, nil
				}}
				client := service.start(t)
				var arrived atomic.Int32
				salesforce := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					arrived.Add(1)
					_, _ = io.WriteString(w, "o")
					_ = http.NewResponseController(w).Flush()
					time.Sleep(row.answers)
					_, _ = io.WriteString(w, "k")
				}))
				defer salesforce.Close()
				base := &http.Transport{DialContext: row.dial}
				defer base.CloseIdleConnections()
				var below http.RoundTripper = base
				if row.wrapped {
					below = struct{ http.RoundTripper }{base}
				}
				caller := http.Client{Transport: NewTransport(below, client, Options{Org: "acme"})}
				request, err := http.NewRequest(method, salesforce.URL+path, strings.NewReader("body"))
				if err != nil {
					t.Fatal(err)
				}
				resp, err := caller.Do(request)
				if row.arrived == 0 {
					if !errors.Is(err, ErrPermitExpired) {
						t.Errorf("the error is %v", err)
					}
					time.Sleep(2 * life) // the connection stands by now
				} else if err != nil {
					t.Error(err)
				} else if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "ok" {
					t.Errorf("the body is %q (%v)", text, err)
				}
				if err == nil {
					_ = resp.Body.Close()
				}
				if arrived.Load() != row.arrived {
					t.Errorf("%d requests were sent, want %d", arrived.Load(), row.arrived)
				}
			})
		}
	}
}

// script answers the requests that come, in order, over all connections. Without
// any answer nobody listens.
func script(t *testing.T, answers []string) (url string) {
	t.Helper()
	next := make(chan string, len(answers))
	for _, answer := range answers {
		next <- answer
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if len(answers) == 0 {
		_ = listener.Close()
	}
	t.Cleanup(func() { _ = listener.Close() })
	serve := func(connection net.Conn) {
		defer connection.Close()
		reader := bufio.NewReader(connection)
		for {
			request, err := http.ReadRequest(reader)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, request.Body)
			select {
			case answer := <-next:
				if answer == "" {
					return
				}
				_, _ = io.WriteString(connection, answer)
			default:
				t.Error("a request came that nobody was to send")
				return
			}
		}
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
	return "http://" + listener.Addr().String()
}

// body is one that tells whether it was closed.
type body struct {
	io.Reader
	closed bool
}

func (b *body) Close() error { b.closed = true; return nil }

func TestADeniedRequestIsNotSentAndItsBodyIsClosed(t *testing.T) {
	client := newClient(t, []string{sharedAddress(t)}, WithTimeout(5*time.Second))
	org := "transport-denied"
	acquire(t, client, Request{Org: org, Operation: "conversations.delete", ExecutionUser: "ann", Calls: 10})
	sent := &body{Reader: strings.NewReader("x")}
	request, err := http.NewRequest("DELETE", "http://127.0.0.1:1/conversations/1", sent)
	if err != nil {
		t.Fatal(err)
	}
	_, err = NewTransport(nil, client, Options{Org: org, ExecutionUser: "ann"}).RoundTrip(request)
	var denied *DeniedError
	if !errors.As(err, &denied) || denied.Reason != "EXECUTION_USER_LIMIT" || !denied.RetryKnown {
		t.Errorf("the error is %v", err)
	}
	if !sent.closed {
		t.Error("the body is not closed")
	}
}

func TestWhatTheServiceAdvisesIsTold(t *testing.T) {
	client := newClient(t, []string{sharedAddress(t)}, WithTimeout(5*time.Second))
	salesforce := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer salesforce.Close()
	told := make(chan Result, 1)
	caller := http.Client{Transport: NewTransport(nil, client, Options{
		Org: "transport-advice", OnResult: func(_ *http.Request, result Result) { told <- result },
	})}
	resp, err := caller.Get(salesforce.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	select {
	case result := <-told:
		if result.Advice != Stop {
			t.Errorf("it is %+v", result)
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing was told")
	}
}

func TestAnAnswerIsReadAsSalesforceWritesIt(t *testing.T) {
	long := strings.Repeat("ü", mostBody)
	var packed bytes.Buffer
	packer := gzip.NewWriter(&packed)
	_, _ = io.WriteString(packer, `[{"errorCode":"PACKED","message":"m"}]`)
	_ = packer.Close()
	rows := []struct {
		name          string
		status        int
		header        http.Header
		body          string
		code, message string
		retry         time.Duration
		retryKnown    bool
	}{
		{"a list", 403, nil, `[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]`,
			"REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", 0, false},
		{"one", 400, nil, `{"errorCode":"LIMIT_EXCEEDED","message":"too large"}`, "LIMIT_EXCEEDED", "too large", 0, false},
		{"of OAuth", 400, nil, `{"error":"invalid_grant","error_description":"expired"}`, "invalid_grant", "expired", 0, false},
		{"text", 503, nil, "<html>down</html>", "", "<html>down</html>", 0, false},
		{"other JSON", 503, nil, `{"status":"down"}`, "", `{"status":"down"}`, 0, false},
		{"nothing", 503, nil, "", "", "", 0, false},
		{"long text", 503, nil, long, "", long[:mostMessage], 0, false},
		{"packed", 403, http.Header{"Content-Encoding": {"gzip"}}, packed.String(), "PACKED", "m", 0, false},
		{"no error", 200, nil, `[{"errorCode":"X","message":"m"}]`, "", "", 0, false},
		{"seconds", 429, http.Header{"Retry-After": {"77"}}, "", "", "", 77 * time.Second, true},
		{"far too many", 429, http.Header{"Retry-After": {"18446744073709551615"}}, "", "", "", 1 << 31 * time.Second, true},
		{"a date", 429, http.Header{
			"Date": {"Sun, 06 Nov 1994 08:49:37 GMT"}, "Retry-After": {"Sun, 06 Nov 1994 08:50:00 GMT"},
		}, "", "", "", 23 * time.Second, true},
		{"a date before", 429, http.Header{
			"Date": {"Sun, 06 Nov 1994 08:49:37 GMT"}, "Retry-After": {"Sun, 06 Nov 1994 08:00:00 GMT"},
		}, "", "", "", 0, true},
		{"neither", 429, http.Header{"Retry-After": {"soon"}}, "", "", "", 0, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			header := row.header
			if header == nil {
				header = http.Header{}
			}
			resp := &http.Response{StatusCode: row.status, Header: header, Body: io.NopCloser(strings.NewReader(row.body))}
			answer := AnswerOf(resp)
			if answer.ErrorCode != row.code || answer.ErrorMessage != row.message {
				t.Errorf("the error is %q %q", answer.ErrorCode, answer.ErrorMessage)
			}
			if answer.RetryAfter != row.retry || answer.RetryKnown != row.retryKnown {
				t.Errorf("to wait %v (%v)", answer.RetryAfter, answer.RetryKnown)
			}
			if left, err := io.ReadAll(resp.Body); err != nil || string(left) != row.body {
				t.Errorf("%d bytes are left of %d (%v)", len(left), len(row.body), err)
			}
		})
	}
}

func TestAReportFitsOnTheWire(t *testing.T) {
	answer := Answer{Status: 429, ErrorCode: "C\xff", ErrorMessage: strings.Repeat("ü", 1000) + "\xff"}
	for range 20 {
		answer.LimitInfo = append(answer.LimitInfo, "api-usage=1/2\xff", strings.Repeat("x", 2000))
	}
	report := answer.message()
	if len(report.LimitInfo) != mostLimitInfo || report.LimitInfo[0] != "api-usage=1/2?" {
		t.Errorf("the headers are %q", report.LimitInfo)
	}
	if report.ErrorCode != "C" || len(report.ErrorMessage) != mostMessage {
		t.Errorf("the error is %q %d", report.ErrorCode, len(report.ErrorMessage))
	}
}
