package quotagate

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quotagate/quotagate/clients/go/quotagatev1"
)

// ErrPermitExpired says that a permit holds no call that may still be started:
// its time is over, all of it is started, or it was given back.
var ErrPermitExpired = errors.New("quotagate: the permit has no call left")

// ErrClientClosed says that [Client.Close] was called.
var ErrClientClosed = errors.New("quotagate: the client is closed")

// DeniedError is the service's refusal. It charged nothing.
type DeniedError struct {
	// Reason names what stopped the request, such as "EXECUTION_USER_LIMIT" or
	// "COOLING_DOWN": the contract's DenialReason without its prefix.
	Reason string
	// RetryAfter is when to try again, if RetryKnown: it is not where nobody can
	// know, or where the request can never be granted.
	RetryAfter time.Duration
	RetryKnown bool
	// Limit is the one that binds, nil where none does; Limits are all that the
	// request touches.
	Limit  *quotagatev1.LimitUsage
	Limits []*quotagatev1.LimitUsage
	// ClassState is the state of the workspace's traffic classes, nil where no
	// workspace was named.
	ClassState *quotagatev1.ClassState
	// QueuePosition is the place at which a wait ended, from 1; 0 if there was none.
	QueuePosition int
	// Message is one sentence for people.
	Message string
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("quotagate: denied by %s: %s", e.Reason, e.Message)
}

// UnavailableError says that nothing could be decided within the time, and that
// the outage policy of the class lets nothing pass.
type UnavailableError struct {
	// Code is gRPC's, such as Unavailable or DeadlineExceeded.
	Code codes.Code
	// Message says what went wrong.
	Message string
	cause   error
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("quotagate: no decision (%s): %s", e.Code, e.Message)
}

// Unwrap returns the error of the RPC.
func (e *UnavailableError) Unwrap() error { return e.cause }

// FieldViolation says what is wrong with one field of a request.
type FieldViolation struct {
	Field       string
	Description string
}

// InvalidRequestError says that the service cannot make sense of a request.
type InvalidRequestError struct {
	// Message says it as one sentence.
	Message string
	// Fields names each field at fault, where the service did.
	Fields []FieldViolation
	cause  error
}

func (e *InvalidRequestError) Error() string {
	faults := make([]string, len(e.Fields))
	for i, fault := range e.Fields {
		faults[i] = fault.Field + ": " + fault.Description
	}
	if len(faults) == 0 {
		return "quotagate: invalid request: " + e.Message
	}
	return "quotagate: invalid request: " + strings.Join(faults, "; ")
}

// Unwrap returns the error of the RPC.
func (e *InvalidRequestError) Unwrap() error { return e.cause }

// ServiceError is any other answer that no repetition changes: an unknown name
// (codes.NotFound), a missing right (codes.PermissionDenied) or identity
// (codes.Unauthenticated).
type ServiceError struct {
	Code codes.Code
	// Reason is the machine-readable one, where the service gave it.
	Reason  string
	Message string
	cause   error
}

func (e *ServiceError) Error() string {
	return fmt.Sprintf("quotagate: %s: %s", e.Code, e.Message)
}

// Unwrap returns the error of the RPC.
func (e *ServiceError) Unwrap() error { return e.cause }

// isOutage tells "nobody could decide" from answers that hold however often one
// asks. What is neither is no decision either.
func isOutage(err error) bool {
	switch status.Code(err) {
	case codes.OK, codes.InvalidArgument, codes.NotFound, codes.PermissionDenied,
		codes.Unauthenticated, codes.FailedPrecondition, codes.OutOfRange, codes.AlreadyExists:
		return false
	default:
		return true
	}
}

// answeredError makes an error of the service's answer that is not an outage.
func answeredError(err error) error {
	answer := status.Convert(err)
	if answer.Code() == codes.InvalidArgument {
		invalid := &InvalidRequestError{Message: answer.Message(), cause: err}
		for _, detail := range answer.Details() {
			if bad, ok := detail.(*errdetails.BadRequest); ok {
				for _, fault := range bad.GetFieldViolations() {
					invalid.Fields = append(invalid.Fields,
						FieldViolation{Field: fault.GetField(), Description: fault.GetDescription()})
				}
			}
		}
		return invalid
	}
	refused := &ServiceError{Code: answer.Code(), Message: answer.Message(), cause: err}
	for _, detail := range answer.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			refused.Reason = info.GetReason()
		}
	}
	return refused
}

func deniedError(denial *quotagatev1.Denial) *DeniedError {
	denied := &DeniedError{
		Reason:        strings.TrimPrefix(denial.GetReason().String(), "DENIAL_REASON_"),
		Limit:         denial.GetLimit(),
		Limits:        denial.GetLimits(),
		ClassState:    denial.GetClassState(),
		QueuePosition: int(denial.GetQueuePosition()),
		Message:       denial.GetMessage(),
	}
	if wait := denial.GetRetryAfter(); wait != nil {
		denied.RetryAfter, denied.RetryKnown = wait.AsDuration(), true
	}
	return denied
}
