package quotagate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// Options says whose calls a transport makes.
type Options struct {
	// Org is the Salesforce org; needed.
	Org string
	// Workspace is the customer's workspace that pays, if any.
	Workspace string
	// ExecutionUser is the user whose session the requests carry. Needed for
	// operations that are limited by user.
	ExecutionUser string
	// Class is the traffic class; Event if not given.
	Class Class
	// MaxWait is how long a request waits for room before it is denied.
	MaxWait time.Duration
	// Rules tells which requests need a permit; [DefaultRules] if nil.
	Rules Rules
	// OnResult, if set, is told what the service says to each report; its Advice
	// is of use. It is called from other goroutines.
	OnResult func(*http.Request, Result)
}

// mostReplays is how often a request is sent anew because the connection that it
// was sent on turned out to be closed.
const mostReplays = 3

// NewTransport makes a RoundTripper that takes a permit before each request that
// Rules names, and reports the answer. One permit is one request on the wire:
// redirects, and what is sent anew on another connection, take their own. base
// sends them; nil is [http.DefaultTransport]. A base that repeats requests by
// itself, other than an [http.Transport], belongs above this one.
//
// A denial is a [*DeniedError], within the *url.Error of an [http.Client]. A request
// that has no connection yet when its permit's time is over is not sent, and fails
// with [ErrPermitExpired]; base tells of connections as an [http.Transport] does, by
// [httptrace].
func NewTransport(base http.RoundTripper, client *Client, options Options) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	if options.Rules == nil {
		options.Rules = DefaultRules
	}
	return &transport{base: base, client: client, options: options}
}

type transport struct {
	base    http.RoundTripper
	client  *Client
	options Options
}

func (t *transport) RoundTrip(original *http.Request) (*http.Response, error) {
	request := original.Clone(original.Context())
	operation, cost := t.options.Rules(request)
	if operation == "" {
		return t.base.RoundTrip(request)
	}
	replayable := isReplayable(original)
	if replayable {
		// Else the base would send it anew by itself, on the same permit.
		request.GetBody = nil
		if request.Body == nil || request.Body == http.NoBody {
			request.Body = emptyBody{}
		}
	}
	for replays := 0; ; replays++ {
		resp, again, err := t.attempt(original, request, operation, cost)
		if err == nil || !again || !replayable || replays == mostReplays {
			return resp, err
		}
		if original.GetBody != nil {
			body, bodyErr := original.GetBody()
			if bodyErr != nil {
				return nil, err
			}
			request.Body = body
		}
	}
}

// attempt sends the request once. Where that fails, it tells whether the reason is
// a connection that was closed while it was idle.
func (t *transport) attempt(original, request *http.Request, operation string, cost int) (_ *http.Response, again bool, _ error) {
	permit, err := t.client.Acquire(request.Context(), Request{
		Org:           t.options.Org,
		Operation:     operation,
		Workspace:     t.options.Workspace,
		ExecutionUser: t.options.ExecutionUser,
		Class:         t.options.Class,
		Cost:          cost,
		MaxWait:       t.options.MaxWait,
	})
	if err != nil {
		closeBody(request)
		return nil, false, err
	}
	defer permit.Close()
	ordinal, err := permit.Start()
	if err != nil {
		closeBody(request)
		return nil, false, err
	}
	ctx, cancel := context.WithCancel(request.Context())
	seen := progress{cancel: cancel}
	timer := time.AfterFunc(permit.Remaining(), seen.expire)
	defer timer.Stop()
	resp, err := t.base.RoundTrip(request.WithContext(seen.trace(ctx, permit)))
	if err != nil {
		cancel()
		if t.isUnsent(&seen, err) {
			permit.unstart()
		}
		if seen.late.Load() && request.Context().Err() == nil {
			return nil, false, fmt.Errorf("%w: its time was over before there was a connection", ErrPermitExpired)
		}
		again = seen.reused.Load() && !seen.answered.Load() && request.Context().Err() == nil
		return nil, again, err
	}
	var then func(Result)
	if told := t.options.OnResult; told != nil {
		then = func(result Result) { told(original, result) }
	}
	permit.reportLater(ordinal, AnswerOf(resp), then)
	resp.Request = original
	resp.Body = bodyWith(resp.Body, cancel)
	return resp, false, nil
}

// progress is how far a request came.
type progress struct {
	connected, reused, answered atomic.Bool

	waiting atomic.Bool // for a connection
	late    atomic.Bool // the permit's time ended that wait
	cancel  context.CancelFunc
}

// expire ends the wait for a connection. A request that has one is on its way.
func (p *progress) expire() {
	if p.waiting.CompareAndSwap(true, false) {
		p.late.Store(true)
		p.cancel()
	}
}

func (p *progress) trace(ctx context.Context, permit *Permit) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			p.waiting.Store(true)
			if permit.Remaining() == 0 {
				p.expire() // the timer has found nobody waiting
			}
		},
		GotConn: func(info httptrace.GotConnInfo) {
			p.waiting.Store(false)
			p.connected.Store(true)
			p.reused.Store(info.Reused)
		},
		GotFirstResponseByte: func() { p.answered.Store(true) },
	})
}

// isUnsent tells whether certainly nothing of the request has left.
func (t *transport) isUnsent(seen *progress, err error) bool {
	if _, tells := t.base.(*http.Transport); tells {
		return !seen.connected.Load()
	}
	if seen.connected.Load() {
		return false
	}
	var dial *net.OpError
	var lookup *net.DNSError
	return errors.As(err, &dial) && dial.Op == "dial" || errors.As(err, &lookup)
}

// isReplayable tells whether an http.Transport would send the request anew where
// the connection was closed before any answer came.
func isReplayable(r *http.Request) bool {
	if r.Body != nil && r.Body != http.NoBody && r.GetBody == nil {
		return false
	}
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return r.Header["Idempotency-Key"] != nil || r.Header["X-Idempotency-Key"] != nil
}

// emptyBody is no body, but one that cannot be sent anew.
type emptyBody struct{}

func (emptyBody) Read([]byte) (int, error) { return 0, io.EOF }
func (emptyBody) Close() error             { return nil }

// bodyWith is the body, after which the context that it is read under ends.
func bodyWith(body io.ReadCloser, cancel context.CancelFunc) io.ReadCloser {
	if body == nil || body == http.NoBody {
		cancel()
		return body
	}
	if _, upgraded := body.(io.Writer); upgraded {
		return body // a connection of its own: it ends with the request's context
	}
	return &lastBody{body, cancel}
}

// lastBody is a body after which nothing of its request's context is needed.
type lastBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *lastBody) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	if err != nil {
		b.cancel()
	}
	return n, err
}

func (b *lastBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}
