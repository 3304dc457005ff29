// Package quotagate asks a quotagate service for Salesforce API calls, before
// they are made, and tells it what Salesforce answered.
//
//	client, err := quotagate.New([]string{"127.0.0.1:7400"})
//	…
//	defer client.Close()
//	permit, err := client.Acquire(ctx, quotagate.Request{Org: "acme", Operation: "rest"})
//	…
//	defer permit.Close()
//
// A program that makes its calls by net/http needs one line only:
//
//	http.Client{Transport: quotagate.NewTransport(nil, client, quotagate.Options{Org: "acme"})}
//
// A refusal is a [*DeniedError]. Where nothing could be decided, because the
// service cannot be reached, the [OutagePolicy] of the traffic class says what
// happens; by default it is an [*UnavailableError].
package quotagate
