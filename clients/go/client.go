package quotagate

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // acts on the service config's healthCheckConfig
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/quotagate/quotagate/clients/go/quotagatev1"
)

const (
	// defaultTimeout is how long a decision may take besides the wait asked for.
	defaultTimeout = time.Second
	// flushTimeout is how long Close waits for what is still to be settled.
	flushTimeout = 2 * time.Second
	// callerHeader carries the name that a program gives itself.
	callerHeader = "quotagate-caller"
)

// serviceConfig is a copy of clients/service_config.json: a package can embed
// only what lies below it. A test compares the two.
//
//go:embed service_config.json
var serviceConfig string

// Class orders callers by who waits for them.
type Class = quotagatev1.TrafficClass

// The traffic classes. A request that names none is of class Event.
const (
	// Bulk is manual bulk synchronisation; it pauses first.
	Bulk = quotagatev1.TrafficClass_TRAFFIC_CLASS_BULK
	// Event is event-based background synchronisation.
	Event = quotagatev1.TrafficClass_TRAFFIC_CLASS_EVENT
	// Interactive is for calls that a person waits for.
	Interactive = quotagatev1.TrafficClass_TRAFFIC_CLASS_INTERACTIVE
	// Control is for settings; a workspace's cap never stops it.
	Control = quotagatev1.TrafficClass_TRAFFIC_CLASS_CONTROL
)

// Request says which calls are wanted. Only Org and Operation are needed.
type Request struct {
	// Org is the Salesforce org.
	Org string
	// Operation is a name of the service's catalogue, such as "rest" or
	// "conversation-entries.get".
	Operation string
	// Workspace is the customer's workspace that pays, if any.
	Workspace string
	// ExecutionUser is the Salesforce user that will make the calls; empty lets
	// the service choose one of the org's pool.
	ExecutionUser string
	// Class is the traffic class; Event if not given.
	Class Class
	// Calls is how many are wanted, 1 if 0; MinCalls the fewest that are of use,
	// all if 0.
	Calls, MinCalls int
	// Cost is how many units of the org's total one call takes, 1 if 0.
	Cost int
	// MaxWait is how long to wait for room; not at all if 0.
	MaxWait time.Duration
	// PermitTTL is how long the permit is to live; the limits' default if 0.
	PermitTTL time.Duration
	// RequestID makes a repeated request safe: 1 to 64 characters. One is made up
	// if it is empty. All tries of one Acquire carry the same.
	RequestID string
}

// Client is a connection to a quotagate service, over one or several of its
// nodes. It is safe for use by several goroutines; a program needs one.
type Client struct {
	conn    *grpc.ClientConn
	service quotagatev1.QuotaServiceClient
	timeout time.Duration
	caller  string
	log     *slog.Logger

	policies map[Class]OutagePolicy
	shares   *shares // nil where no policy is safe
	inOutage atomic.Bool
	closed   atomic.Bool
	settler  *settler
}

// Option is a choice that is made in [New].
type Option func(*options)

type options struct {
	caller      string
	timeout     time.Duration
	credentials credentials.TransportCredentials
	policies    map[Class]OutagePolicy
	log         *slog.Logger
	dial        []grpc.DialOption
}

// WithCaller names this program in the service's attribution of use.
func WithCaller(name string) Option { return func(o *options) { o.caller = name } }

// WithTimeout is how long a decision may take, besides the wait that a request
// asks for; 1 s if not given.
func WithTimeout(d time.Duration) Option { return func(o *options) { o.timeout = d } }

// WithOutage is what to do for the classes, all if none is given, while nothing
// can be decided. Later options overrule earlier ones; without any it is [Closed].
func WithOutage(policy OutagePolicy, classes ...Class) Option {
	return func(o *options) {
		if len(classes) == 0 {
			classes = []Class{Bulk, Event, Interactive, Control}
		}
		for _, class := range classes {
			o.policies[class] = policy
		}
	}
}

// WithTransportCredentials encrypts the connection; without them it is plain
// text, for a service on this machine.
func WithTransportCredentials(c credentials.TransportCredentials) Option {
	return func(o *options) { o.credentials = c }
}

// WithLogger is where the beginning and end of an outage are told;
// [slog.Default] if not given.
func WithLogger(log *slog.Logger) Option { return func(o *options) { o.log = log } }

// WithDialOptions is passed on to gRPC, after the client's own options.
func WithDialOptions(dial ...grpc.DialOption) Option {
	return func(o *options) { o.dial = append(o.dial, dial...) }
}

// New makes a client of the servers, each given as host:port. One alone may also
// be a gRPC target, such as "dns:///quotagate.internal:7400". It does not connect
// yet, so a service that is down is no error here.
func New(servers []string, opts ...Option) (*Client, error) {
	o := options{
		timeout:     defaultTimeout,
		credentials: insecure.NewCredentials(),
		policies:    map[Class]OutagePolicy{},
		log:         slog.Default(),
	}
	for _, option := range opts {
		option(&o)
	}
	if o.timeout <= 0 {
		return nil, errors.New("quotagate: the timeout must be positive")
	}
	for class, policy := range o.policies {
		if policy.kind == outageSafe && policy.processes < 1 {
			return nil, fmt.Errorf("quotagate: Safe(%d) for %v: at least this process uses its part",
				policy.processes, class)
		}
	}
	target, dial, err := targetOf(servers)
	if err != nil {
		return nil, err
	}
	dial = append(dial,
		grpc.WithTransportCredentials(o.credentials),
		grpc.WithDefaultServiceConfig(serviceConfig),
		// A service that comes back is to be found soon: it decides for others.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second,
			},
			MinConnectTimeout: 5 * time.Second,
		}),
		// A node that vanished without a word is noticed in the middle of a wait.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 20 * time.Second, Timeout: 5 * time.Second,
		}),
	)
	conn, err := grpc.NewClient(target, append(dial, o.dial...)...)
	if err != nil {
		return nil, fmt.Errorf("quotagate: %w", err)
	}
	client := &Client{
		conn:     conn,
		service:  quotagatev1.NewQuotaServiceClient(conn),
		timeout:  o.timeout,
		caller:   o.caller,
		log:      o.log,
		policies: o.policies,
		settler:  newSettler(),
	}
	for _, policy := range o.policies {
		if policy.kind == outageSafe {
			client.shares = newShares()
		}
	}
	return client, nil
}

// targetOf turns the servers into what gRPC calls a target. Several are given to
// it as they are; one alone is looked up, so that a name may stand for many.
func targetOf(servers []string) (string, []grpc.DialOption, error) {
	switch len(servers) {
	case 0:
		return "", nil, errors.New("quotagate: no server is given")
	case 1:
		if strings.Contains(servers[0], "://") {
			return servers[0], nil, nil
		}
		return "dns:///" + servers[0], nil, nil
	}
	state := resolver.State{}
	for _, server := range servers {
		host, port, err := net.SplitHostPort(server)
		if err != nil {
			return "", nil, fmt.Errorf("quotagate: a server is host:port: %w", err)
		}
		address := resolver.Address{Addr: server, ServerName: authorityOf(host, port)}
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{address}})
	}
	fixed := manual.NewBuilderWithScheme("quotagate")
	fixed.InitialState(state)
	return fixed.Scheme() + ":///quotagate", []grpc.DialOption{grpc.WithResolvers(fixed)}, nil
}

// authorityOf is what the requests to a server name it, and what its certificate is
// checked for. It has the port even so, for without it an IPv6 address would lose the
// brackets that make it an authority. A zone is this machine's own matter.
func authorityOf(host, port string) string {
	host, _, _ = strings.Cut(host, "%")
	if host == "" {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// Service is the generated stub on the same connection, for what this package
// does not wrap: GetUsage, WatchUsage, GetDemand.
func (c *Client) Service() quotagatev1.QuotaServiceClient { return c.service }

// Acquire asks to make calls. It returns within the client's timeout and the
// request's MaxWait together.
//
// The error is a [*DeniedError] for a refusal, an [*UnavailableError] where
// nothing could be decided and the outage policy lets nothing pass, an
// [*InvalidRequestError], a [*ServiceError], or ctx's own.
func (c *Client) Acquire(ctx context.Context, request Request) (*Permit, error) {
	if c.closed.Load() {
		return nil, ErrClientClosed
	}
	message := request.message()
	deadline := time.Now().Add(c.timeout + max(request.MaxWait, 0))
	limited, cancel := context.WithDeadline(c.outgoing(ctx), deadline)
	defer cancel()
	// The life of a permit counts from the sending of the try that was answered:
	// the first was sent no later.
	sent := now()
	answer, err := c.service.Acquire(limited, message)
	if err == nil {
		switch {
		case answer.GetDenial() != nil:
			denial := answer.GetDenial()
			if denial.GetReason() == quotagatev1.DenialReason_DENIAL_REASON_QUEUE_FULL {
				// A service may not have chosen a user of the pool yet: the users'
				// limits are then missing.
				c.answers()
			} else {
				c.decided(message, "", denial.GetLimits())
			}
			return nil, deniedError(denial)
		case answer.GetPermit().GetPermitId() != "" && answer.GetPermit().GetCalls() > 0:
			granted := answer.GetPermit()
			c.decided(message, granted.GetExecutionUser(), granted.GetLimits())
			return newPermit(c, granted, sent), nil
		}
		err = status.Error(codes.Internal, "the answer is neither a permit nor a denial")
	}
	if ctxErr := endOf(ctx, deadline, err); ctxErr != nil {
		return nil, fmt.Errorf("quotagate: acquire: %w", ctxErr)
	}
	if c.closed.Load() {
		return nil, ErrClientClosed
	}
	if !isOutage(err) {
		c.answers()
		return nil, answeredError(err)
	}
	return c.withoutDecision(message, err)
}

// endOf tells whether it was the caller's context that ended a request. The server
// knows the deadline, too, and may see it pass a moment earlier.
func endOf(ctx context.Context, deadline time.Time, err error) error {
	callers, ok := ctx.Deadline()
	if ok && callers.Before(deadline) && status.Code(err) == codes.DeadlineExceeded {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

// Close settles what is left, for 2 s at most, and closes the connection.
func (c *Client) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	c.settler.close(flushTimeout)
	return c.conn.Close()
}

// decided notes an answer: what it says of the limits is what a safe outage
// policy stands on.
func (c *Client) decided(request *quotagatev1.AcquireRequest, user string, limits []*quotagatev1.LimitUsage) {
	c.answers()
	if c.shares != nil {
		c.shares.learn(questionOf(request), user, limits)
	}
}

func (c *Client) answers() {
	if c.inOutage.Swap(false) {
		c.log.Info("quotagate: the service answers again")
	}
}

// withoutDecision does what the outage policy of the request's class says.
func (c *Client) withoutDecision(request *quotagatev1.AcquireRequest, cause error) (*Permit, error) {
	policy := c.policies[request.GetTrafficClass()]
	if !c.inOutage.Swap(true) {
		c.log.Warn("quotagate: the service decides nothing", "error", cause, "policy", policy.String())
	}
	calls := int(max(request.GetCalls(), 1))
	switch policy.kind {
	case outageOpen:
		return newOutagePermit(c, request.GetExecutionUser(), calls, nil), nil
	case outageSafe:
		least := int(request.GetMinCalls())
		if least == 0 {
			least = calls
		}
		user, taken := c.shares.take(now(), questionOf(request), policy.processes, ask{
			calls: calls, least: least, cost: int(max(request.GetCost(), 1)),
		})
		if taken != nil {
			return newOutagePermit(c, user, len(taken.calls), taken), nil
		}
	}
	answer := status.Convert(cause)
	return nil, &UnavailableError{Code: answer.Code(), Message: answer.Message(), cause: cause}
}

// outgoing adds who asks.
func (c *Client) outgoing(ctx context.Context) context.Context {
	if c.caller == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, callerHeader, c.caller)
}

func (r Request) message() *quotagatev1.AcquireRequest {
	message := &quotagatev1.AcquireRequest{
		Org:           r.Org,
		Workspace:     r.Workspace,
		Operation:     r.Operation,
		ExecutionUser: r.ExecutionUser,
		TrafficClass:  r.Class,
		Calls:         count(r.Calls),
		MinCalls:      count(r.MinCalls),
		Cost:          count(r.Cost),
		RequestId:     r.RequestID,
	}
	if r.Class == quotagatev1.TrafficClass_TRAFFIC_CLASS_UNSPECIFIED {
		message.TrafficClass = Event
	}
	if r.MaxWait != 0 {
		message.MaxWait = durationpb.New(r.MaxWait)
	}
	if r.PermitTTL != 0 {
		message.PermitTtl = durationpb.New(r.PermitTTL)
	}
	if message.RequestId == "" {
		message.RequestId = newRequestID()
	}
	return message
}

// count is what the wire can carry of a number. What it cannot becomes one that
// the service refuses, naming the field.
func count(n int) uint32 {
	const refused = 1<<32 - 1
	if n < 0 || n > refused {
		return refused
	}
	return uint32(n)
}

func newRequestID() string {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return "" // a repeat is then a new request, which is better than somebody else's
	}
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}
