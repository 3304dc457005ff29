package quotagate

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/quotagate/quotagate/clients/go/quotagatev1"
)

const (
	// mostBody is how much of the body of an error is read.
	mostBody = 64 << 10
	// mostMessage is how much of it the service takes, in bytes; so for a header.
	mostMessage = 1 << 10
	// mostCode is how long Salesforce's error codes are at most, and more.
	mostCode = 128
	// mostLimitInfo is how many values of Sforce-Limit-Info the service takes.
	mostLimitInfo = 8
)

// Answer is what Salesforce answered to a call. The zero Answer says that none
// came: the call counts as sent.
type Answer struct {
	// Status is the HTTP status; 0 if no answer came.
	Status int
	// LimitInfo are the raw values of all Sforce-Limit-Info headers.
	LimitInfo []string
	// RetryAfter is the Retry-After header's time, if RetryKnown.
	RetryAfter time.Duration
	RetryKnown bool
	// Time is the answer's Date; zero if it had none.
	Time time.Time
	// ErrorCode and ErrorMessage are Salesforce's own, of an answer of 400 or more.
	ErrorCode    string
	ErrorMessage string

	at instant // when it came
}

// AnswerOf reads an answer that has just come. Of a status of 400 or more it also
// reads the error in the body, at most 64 KiB of it, and leaves the whole body to
// be read in resp.
func AnswerOf(resp *http.Response) Answer {
	answer := Answer{Status: resp.StatusCode, LimitInfo: resp.Header.Values("Sforce-Limit-Info")}
	answer.complete()
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		answer.Time = date
	}
	answer.RetryAfter, answer.RetryKnown = retryAfter(resp.Header.Get("Retry-After"), answer.Time)
	if resp.StatusCode >= http.StatusBadRequest && resp.Body != nil {
		answer.ErrorCode, answer.ErrorMessage = errorOf(errorBody(resp))
	}
	return answer
}

// complete notes that the answer came now, if that is not noted yet.
func (a *Answer) complete() {
	if a.at == 0 {
		a.at = now()
	}
}

// moves tells whether Salesforce is certainly done with the call: without an
// answer, or after an error of a server in between, bytes may still travel.
func (a *Answer) moves() bool { return a.Status >= 100 && a.Status < 500 }

func (a *Answer) message() *quotagatev1.ReportRequest {
	report := &quotagatev1.ReportRequest{
		HttpStatus:   count(a.Status),
		ErrorCode:    cut(a.ErrorCode, mostCode),
		ErrorMessage: cut(a.ErrorMessage, mostMessage),
	}
	for _, value := range a.LimitInfo {
		if len(value) <= mostMessage && len(report.LimitInfo) < mostLimitInfo {
			report.LimitInfo = append(report.LimitInfo, strings.ToValidUTF8(value, "?"))
		}
	}
	if a.RetryKnown {
		report.RetryAfter = durationpb.New(max(a.RetryAfter, 0))
	}
	if !a.Time.IsZero() {
		report.AnswerTime = timestamppb.New(a.Time)
	}
	return report
}

// retryAfter reads seconds or a date. A date is counted from the answer's own, so
// that it does not matter what this machine takes the time to be.
func retryAfter(value string, answered time.Time) (time.Duration, bool) {
	const longest = 1 << 31 // seconds: what a Duration surely holds
	if seconds, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64); err == nil {
		return time.Duration(min(seconds, longest)) * time.Second, true
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	if answered.IsZero() {
		answered = time.Now()
	}
	return max(date.Sub(answered), 0), true
}

// errorBody reads the beginning of the body, unpacked, and leaves the body whole.
func errorBody(resp *http.Response) []byte {
	read, body := peek(resp.Body, mostBody)
	resp.Body = body
	if strings.EqualFold(resp.Header.Get("Content-Encoding"), "gzip") {
		// The caller asked for it and unpacks it by itself. What is cut off
		// ends with an error, and is good as far as it goes.
		if unpacked, err := gzip.NewReader(bytes.NewReader(read)); err == nil {
			read, _ = io.ReadAll(io.LimitReader(unpacked, mostBody))
		}
	}
	return read
}

// peek reads the beginning of a body, and returns it with one that is still whole.
func peek(body io.ReadCloser, most int64) ([]byte, io.ReadCloser) {
	read, err := io.ReadAll(io.LimitReader(body, most))
	var rest io.Reader = body
	if err != nil {
		rest = failing{err}
	}
	return read, struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(read), rest), body}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// errorOf finds code and message in the body of an error: a list of errors (REST),
// one of them, or an OAuth error. Of anything else the text is the message.
func errorOf(body []byte) (code, message string) {
	type fault struct {
		ErrorCode   string `json:"errorCode"`
		Message     string `json:"message"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	var faults []fault
	if json.Unmarshal(body, &faults) != nil {
		faults = make([]fault, 1)
		if json.Unmarshal(body, &faults[0]) != nil {
			return "", cut(string(body), mostMessage)
		}
	}
	for _, f := range faults {
		switch {
		case f.ErrorCode != "":
			return f.ErrorCode, f.Message
		case f.Error != "":
			return f.Error, f.Description
		}
	}
	return "", cut(string(body), mostMessage)
}

// cut is the text as the wire takes it: valid, and at most so many bytes.
func cut(text string, most int) string {
	if len(text) > most {
		text = text[:most]
	}
	// What is cut in the middle of a character is no character.
	return strings.ToValidUTF8(text, "")
}
