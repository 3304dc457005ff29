package quotagate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/quotagate/quotagate/clients/go/quotagatev1"
)

// object is a step's arguments or expectation, as the file has them: a field that
// is null is there.
type object map[string]any

type scenario struct {
	Name  string
	Org   string
	Steps []map[string]json.RawMessage
}

type conformance struct {
	Scenarios []scenario
	Classify  []struct {
		Method, URL string
		Body        *string
		Operation   *string
		Cost        int
	}
}

func readConformance(t *testing.T) (file conformance) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "clients/conformance/scenarios.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestConformance(t *testing.T) {
	address, salesforce := sharedAddress(t), standin(t)
	for _, scenario := range readConformance(t).Scenarios {
		t.Run(scenario.Name, func(t *testing.T) {
			play := &play{
				t: t, org: scenario.Org, address: address, salesforce: salesforce,
				client: newClient(t, []string{address}, WithTimeout(5*time.Second)),
				ids:    map[string]string{},
			}
			for i, step := range scenario.Steps {
				if err := play.step(step); err != nil {
					t.Fatalf("step %d: %v", i+1, err)
				}
			}
		})
	}
}

func TestTheRulesTellWhatARequestIs(t *testing.T) {
	for _, vector := range readConformance(t).Classify {
		t.Run(vector.Method+" "+vector.URL, func(t *testing.T) {
			var body io.Reader
			if vector.Body != nil {
				body = strings.NewReader(*vector.Body)
			}
			request, err := http.NewRequest(vector.Method, vector.URL, body)
			if err != nil {
				t.Fatal(err)
			}
			operation, cost := DefaultRules(request)
			wanted := ""
			if vector.Operation != nil {
				wanted = *vector.Operation
			}
			if operation != wanted || operation != "" && cost != vector.Cost {
				t.Errorf("it is %q at %d, want %q at %d", operation, cost, wanted, vector.Cost)
			}
			if vector.Body != nil {
				if kept, err := io.ReadAll(request.Body); err != nil || string(kept) != *vector.Body {
					t.Errorf("the body is now %q (%v)", kept, err)
				}
			}
		})
	}
}

// play runs one scenario.
type play struct {
	t                        *testing.T
	org, address, salesforce string
	client                   *Client
	ids                      map[string]string // of permits, by their names
}

func (p *play) step(step map[string]json.RawMessage) error {
	var expect object
	var as string
	for key, into := range map[string]any{"expect": &expect, "as": &as} {
		if text, ok := step[key]; ok {
			if err := json.Unmarshal(text, into); err != nil {
				return err
			}
		}
	}
	does := map[string]func(object, object, string) error{
		"acquire": p.acquire, "check": p.check, "release": p.release, "report": p.report,
		"usage": p.usage, "guard": p.guard, "http": p.http,
	}
	for key, do := range does {
		if text, ok := step[key]; ok {
			var args object
			if err := json.Unmarshal(text, &args); err != nil {
				return err
			}
			return do(args, expect, as)
		}
	}
	return fmt.Errorf("nothing is known to do in %v", step)
}

func (p *play) acquire(args, expect object, as string) error {
	permit, err := p.client.Acquire(context.Background(), p.request(args))
	if err != nil {
		return p.refused(err, expect)
	}
	return p.granted(permit.wire(), expect, as)
}

// wire is the permit as the service sent it.
func (p *Permit) wire() *quotagatev1.Permit {
	return &quotagatev1.Permit{
		PermitId: p.ID, Calls: uint32(p.Calls), ExecutionUser: p.ExecutionUser,
		Ttl: durationpb.New(p.Remaining()), ClassState: p.ClassState, Limits: p.Limits,
	}
}

func (p *play) check(args, expect object, _ string) error {
	message := p.request(args).message()
	message.Mode = quotagatev1.AcquireMode_ACQUIRE_MODE_CHECK_ONLY
	answer, err := p.client.Service().Acquire(context.Background(), message)
	switch {
	case err != nil:
		return p.refused(err, expect)
	case answer.GetDenial() != nil:
		return p.refused(deniedError(answer.GetDenial()), expect)
	}
	return p.granted(answer.GetPermit(), expect, "")
}

func (p *play) release(args, expect object, _ string) error {
	request := &quotagatev1.ReleaseRequest{PermitId: p.permitID(args)}
	if _, ok := args["unused_calls"]; ok {
		unused := uint32(args.number("unused_calls"))
		request.UnusedCalls = &unused
	}
	answer, err := p.client.Service().Release(context.Background(), request)
	if err != nil {
		return p.refused(err, expect)
	}
	return matchAll(expect, object{
		"returned_calls": float64(answer.GetReturnedCalls()), "already_settled": answer.GetAlreadySettled(),
	})
}

func (p *play) report(args, expect object, _ string) error {
	answer := answerOf(args)
	request := answer.message()
	request.PermitId = p.permitID(args)
	if request.PermitId == "" {
		request.Org = p.org
	}
	request.ExecutionUser, request.Operation = args.text("execution_user"), args.text("operation")
	request.FirstCall, request.Calls = uint32(args.number("first_call")), uint32(args.number("calls"))
	request.CompletedAgo = durationpb.New(0)
	response, err := p.client.Service().Report(context.Background(), request)
	if err != nil {
		return p.refused(err, expect)
	}
	result := resultOf(response)
	got := object{"already_settled": result.AlreadySettled, "advice": string(result.Advice), "back_off_s": nil}
	if result.Advice == BackOff {
		got["back_off_s"] = result.BackOff.Seconds()
	}
	return matchAll(expect, got)
}

func (p *play) usage(args, expect object, _ string) (err error) {
	deadline := time.Now().Add(5 * time.Second)
	for {
		if err = p.usageNow(args, expect); err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (p *play) usageNow(args, expect object) error {
	answer, err := p.client.Service().GetUsage(context.Background(), &quotagatev1.GetUsageRequest{Org: p.org})
	if err != nil {
		return err
	}
	usage := answer.GetUsage()
	var limits []*quotagatev1.LimitUsage
	got := object{"paused": []any{}, "warnings": []any{}}
	switch args.text("scope") {
	case "ORG":
		limits = usage.GetLimits()
	case "WORKSPACE":
		for _, workspace := range usage.GetWorkspaces() {
			if workspace.GetWorkspace() == args.text("identity") {
				limits = workspace.GetLimits()
				got = stateOf(workspace.GetClassState())
			}
		}
	case "EXECUTION_USER":
		for _, user := range usage.GetExecutionUsers() {
			if user.GetExecutionUser() == args.text("identity") {
				limits = user.GetLimits()
			}
		}
	}
	figures := limitOf(&quotagatev1.LimitUsage{})
	for _, limit := range limits {
		if limit.GetName() == args.text("limit") && strings.HasSuffix(limit.GetScope().String(), args.text("scope")) {
			figures = limitOf(limit)
			break
		}
	}
	for key, value := range figures {
		got[key] = value
	}
	return matchAll(expect, got)
}

func (p *play) guard(args, expect object, as string) error {
	client, err := New([]string{p.address}, WithTimeout(5*time.Second))
	if err != nil {
		return err
	}
	defer client.Close()
	permit, err := client.Acquire(context.Background(), p.request(args))
	if err != nil {
		return p.refused(err, expect)
	}
	if err := p.granted(permit.wire(), expect, as); err != nil {
		return err
	}
	var inside error
	func() {
		defer func() {
			if thrown := recover(); thrown != nil && thrown != "thrown" {
				panic(thrown)
			}
		}()
		defer permit.Close()
		inside = use(permit, args)
		if args["throw"] == true {
			panic("thrown")
		}
	}()
	return inside
}

// use does what a step says within the guard.
func use(permit *Permit, args object) error {
	for range int(args.number("start")) {
		if _, err := permit.Start(); err != nil {
			return err
		}
	}
	if args["start_beyond"] == true {
		if _, err := permit.Start(); !errors.Is(err, ErrPermitExpired) {
			return fmt.Errorf("a start beyond the last gave %v", err)
		}
	}
	answers, _ := args["answers"].([]any)
	for ordinal, answer := range answers {
		if result := permit.Report(context.Background(), ordinal, answerOf(answer.(map[string]any))); !result.Told {
			return fmt.Errorf("call %d could not be reported", ordinal)
		}
	}
	return nil
}

func (p *play) http(args, expect object, _ string) error {
	caller := &http.Client{}
	if args["direct"] != true {
		// Closed after the step: what it reports has been told before the next one.
		client, err := New([]string{p.address}, WithTimeout(5*time.Second))
		if err != nil {
			return err
		}
		defer client.Close()
		caller.Transport = NewTransport(nil, client, Options{
			Org: p.org, Workspace: args.text("workspace"), ExecutionUser: args.text("user"), Class: classOf(args),
		})
	}
	before := arrived(p.t, p.salesforce).Arrivals
	for range int(max(args.number("times"), 1)) {
		if err := p.call(caller, args, expect); err != nil {
			return err
		}
	}
	sent := float64(arrived(p.t, p.salesforce).Arrivals - before)
	return match("sent", expect["sent"], sent)
}

func (p *play) call(caller *http.Client, args, expect object) error {
	var body []byte
	if parts, ok := args["batch"]; ok {
		body, _ = json.Marshal(object{"batchRequests": make([]struct{}, int(parts.(float64)))})
	}
	request, err := http.NewRequest(args.text("method"), p.salesforce+args.text("path"), bytes.NewReader(body))
	if err != nil {
		return err
	}
	session(request, p.org, args.text("user"))
	resp, err := caller.Do(request)
	if err != nil {
		var library *url.Error
		if !errors.As(err, &library) {
			return fmt.Errorf("the error is not of net/http's own kind: %w", err)
		}
		return p.refused(err, expect)
	}
	defer resp.Body.Close()
	got := object{"status": float64(resp.StatusCode), "sent": expect["sent"]}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var faults []struct{ ErrorCode string }
	if json.Unmarshal(text, &faults) == nil && len(faults) > 0 {
		got["error_code"] = faults[0].ErrorCode
	}
	return matchAll(expect, got)
}

// granted matches a permit, and remembers its id under the step's name.
func (p *play) granted(permit *quotagatev1.Permit, expect object, as string) error {
	wanted, ok := expect["permit"].(map[string]any)
	if !ok {
		return fmt.Errorf("granted: %v", permit)
	}
	got := stateOf(permit.GetClassState())
	got["calls"] = float64(permit.GetCalls())
	got["execution_user"] = permit.GetExecutionUser()
	got["ttl_s"] = permit.GetTtl().AsDuration().Seconds()
	wanted = clone(wanted)
	if limit, ok := wanted["limit"].(map[string]any); ok {
		delete(wanted, "limit")
		fits := func(l *quotagatev1.LimitUsage) bool { return matchAll(limit, limitOf(l)) == nil }
		if !slices.ContainsFunc(permit.GetLimits(), fits) {
			return fmt.Errorf("none of the limits is %v: %v", limit, permit.GetLimits())
		}
	}
	if id, ok := wanted["id"]; ok {
		delete(wanted, "id")
		known := ""
		for name, other := range p.ids {
			if other == permit.GetPermitId() {
				known = name
			}
		}
		good := id == nil && permit.GetPermitId() == "" ||
			id == true && permit.GetPermitId() != "" && known == "" || known != "" && id == known
		if !good {
			return fmt.Errorf("the id is that of %q, want %v", known, id)
		}
	}
	if as != "" {
		p.ids[as] = permit.GetPermitId()
	}
	return matchAll(wanted, got)
}

// refused matches a denial or an error.
func (p *play) refused(err error, expect object) error {
	var denied *DeniedError
	if wanted, ok := expect["denied"].(map[string]any); ok && errors.As(err, &denied) {
		got := stateOf(denied.ClassState)
		got["reason"] = denied.Reason
		got["queue_position"] = float64(denied.QueuePosition)
		got["retry_after_s"] = nil
		if denied.RetryKnown {
			got["retry_after_s"] = denied.RetryAfter.Seconds()
		}
		got["limit"] = nil
		if denied.Limit != nil {
			got["limit"] = map[string]any(limitOf(denied.Limit))
		}
		return matchAll(wanted, got)
	}
	wanted, ok := expect["error"].(map[string]any)
	if !ok {
		return fmt.Errorf("refused: %w", err)
	}
	fields := []any{}
	var invalid *InvalidRequestError
	if errors.As(err, &invalid) {
		for _, fault := range invalid.Fields {
			fields = append(fields, fault.Field)
		}
	} else {
		for _, detail := range status.Convert(err).Details() {
			if bad, ok := detail.(*errdetails.BadRequest); ok {
				for _, fault := range bad.GetFieldViolations() {
					fields = append(fields, fault.GetField())
				}
			}
		}
	}
	if code := codeName(err); code != wanted["code"] {
		return fmt.Errorf("the code is %s: %w", code, err)
	}
	if !reflect.DeepEqual(fields, wanted["fields"]) {
		return fmt.Errorf("the fields are %v: %w", fields, err)
	}
	return nil
}

// codeName is the gRPC status in the protocol's own spelling.
func codeName(err error) string {
	var name strings.Builder
	for i, r := range status.Code(err).String() {
		if i > 0 && r >= 'A' && r <= 'Z' {
			name.WriteByte('_')
		}
		name.WriteRune(r)
	}
	return strings.ToUpper(name.String())
}

func (p *play) permitID(args object) string {
	if name := args.text("permit"); name != "" {
		return p.ids[name]
	}
	return args.text("permit_id")
}

func (p *play) request(args object) Request {
	org := p.org
	if other, ok := args["org"]; ok {
		org = other.(string)
	}
	return Request{
		Org: org, Operation: args.text("operation"), Workspace: args.text("workspace"),
		ExecutionUser: args.text("execution_user"), Class: classOf(args), RequestID: args.text("request_id"),
		Calls: int(args.number("calls")), MinCalls: int(args.number("min_calls")), Cost: int(args.number("cost")),
		MaxWait: seconds(args.number("max_wait_s")), PermitTTL: seconds(args.number("permit_ttl_s")),
	}
}

func answerOf(args object) Answer {
	answer := Answer{
		Status: int(args.number("http_status")), ErrorCode: args.text("error_code"), ErrorMessage: args.text("error_message"),
		RetryAfter: seconds(args.number("retry_after_s")),
	}
	_, answer.RetryKnown = args["retry_after_s"]
	values, _ := args["limit_info"].([]any)
	for _, value := range values {
		answer.LimitInfo = append(answer.LimitInfo, value.(string))
	}
	return answer
}

func classOf(args object) Class {
	return Class(quotagatev1.TrafficClass_value["TRAFFIC_CLASS_"+strings.ToUpper(args.text("traffic_class"))])
}

func stateOf(state *quotagatev1.ClassState) object {
	paused, warnings := []any{}, []any{}
	for _, class := range state.GetClasses() {
		if class.GetState() == quotagatev1.ClassRunState_CLASS_RUN_STATE_PAUSED {
			name := strings.TrimPrefix(class.GetTrafficClass().String(), "TRAFFIC_CLASS_")
			paused = append(paused, strings.ToLower(name))
		}
	}
	for _, warning := range state.GetWarnings() {
		warnings = append(warnings, strings.TrimPrefix(warning.GetKind().String(), "WARNING_KIND_"))
	}
	return object{"paused": paused, "warnings": warnings}
}

func limitOf(limit *quotagatev1.LimitUsage) object {
	return object{
		"name": limit.GetName(), "identity": limit.GetIdentity(),
		"scope":          strings.TrimPrefix(limit.GetScope().String(), "LIMIT_SCOPE_"),
		"kind":           strings.TrimPrefix(limit.GetKind().String(), "LIMIT_KIND_"),
		"max":            float64(limit.GetMax()),
		"used_by_caller": float64(limit.GetUsedByCaller()), "used_by_others": float64(limit.GetUsedByOthers()),
		"foreign": float64(limit.GetForeign()), "reserved": float64(limit.GetReserved()),
		"window_s": limit.GetWindow().AsDuration().Seconds(),
	}
}

func matchAll(expect, got object) error {
	for key, wanted := range expect {
		value, known := got[key]
		if !known {
			return fmt.Errorf("nothing is known of %q", key)
		}
		if err := match(key, wanted, value); err != nil {
			return err
		}
	}
	return nil
}

func match(key string, wanted, got any) error {
	good := reflect.DeepEqual(wanted, got)
	switch key {
	case "paused", "warnings": // sets
		good = sameSet(wanted.([]any), got.([]any))
	default:
		switch w := wanted.(type) {
		case map[string]any:
			inner, ok := got.(map[string]any)
			if !ok {
				return fmt.Errorf("%s is %v, want %v", key, got, wanted)
			}
			return matchAll(w, inner)
		case []any: // from, to
			number, ok := got.(float64)
			good = ok && w[0].(float64) <= number && number <= w[1].(float64)
		case bool:
			good = good || w && strings.HasSuffix(key, "_s") && got != nil
		}
	}
	if !good {
		return fmt.Errorf("%s is %v, want %v", key, got, wanted)
	}
	return nil
}

func sameSet(a, b []any) bool {
	names := func(of []any) []string {
		var list []string
		for _, name := range of {
			list = append(list, name.(string))
		}
		slices.Sort(list)
		return list
	}
	return slices.Equal(names(a), names(b))
}

func clone(o object) object {
	copied := object{}
	for key, value := range o {
		copied[key] = value
	}
	return copied
}

func (o object) text(key string) string {
	text, _ := o[key].(string)
	return text
}

func (o object) number(key string) float64 {
	number, _ := o[key].(float64)
	return number
}

func seconds(number float64) time.Duration { return time.Duration(number * float64(time.Second)) }
