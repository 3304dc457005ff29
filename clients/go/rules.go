package quotagate

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
)

// Rules says what a request is to the service: an operation of the catalogue, and
// how many units of the org's total it takes, 1 if 0. No operation: it is no API
// call, and passes without a permit.
//
// The request is a copy. Its Body may be read if another is put in its place.
type Rules func(*http.Request) (operation string, cost int)

const (
	// mostRead bounds what is read of a body to tell what it is; a batch has 25
	// parts at most.
	mostRead = 4 << 20
	// mostCost is the most that the service takes as one call's cost.
	mostCost = 10_000

	opEntries      = "conversation-entries.get"
	opParticipant  = "conversation-participants.delete"
	opConversation = "conversations.delete"
	opREST         = "rest"
)

var (
	// dataAPI is what the resources of the REST API stand below.
	dataAPI = regexp.MustCompile(`^services/data/v[0-9.]+(/|$)`)
	// login is the element of a SOAP call that asks for a session.
	login = regexp.MustCompile(`<([\w.-]+:)?login[\s/>]`)
)

// DefaultRules tells Salesforce's calls by method and path: the three operations
// of the Conversation Data API, composite/batch by what is in it, anything else
// below /services/ as "rest". Logins and the list of versions are no API calls.
func DefaultRules(r *http.Request) (operation string, cost int) {
	path := strings.Trim(r.URL.Path, "/")
	below := strings.HasPrefix(path, "services/")
	version := dataAPI.FindString(path)
	if version != "" || !below {
		resource := strings.TrimPrefix(strings.TrimPrefix(path, version), "connect/")
		name, _, _ := strings.Cut(resource, "/")
		switch {
		case r.Method == http.MethodGet && name == "conversation-entries":
			return opEntries, 1
		case r.Method == http.MethodDelete && name == "conversation-participants":
			return opParticipant, 1
		case r.Method == http.MethodDelete && name == "conversations":
			return opConversation, 1
		}
	}
	switch {
	case !below, path == "services/data", isBelow(path, "services/oauth2"):
		return "", 0
	case isBelow(path, "services/Soap") && login.Match(bodyOf(r)):
		return "", 0
	case r.Method == http.MethodPost && version != "" && strings.TrimPrefix(path, version) == "composite/batch":
		return opREST, batchSize(bodyOf(r))
	default:
		return opREST, 1
	}
}

func isBelow(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// batchSize counts the requests of a batch; 1 if that cannot be told.
func batchSize(body []byte) int {
	var batch struct {
		Requests []json.RawMessage `json:"batchRequests"`
	}
	if json.Unmarshal(body, &batch) != nil {
		return 1
	}
	return min(max(len(batch.Requests), 1), mostCost)
}

// bodyOf reads the body, as far as it is looked at, and puts it back.
func bodyOf(r *http.Request) []byte {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	read, body := peek(r.Body, mostRead)
	r.Body = body
	return read
}
