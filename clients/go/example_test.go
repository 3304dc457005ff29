package quotagate_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	quotagate "github.com/quotagate/quotagate/clients/go"
)

// Ask for a call, make it, and tell what was answered.
func ExampleClient() {
	client, err := quotagate.New([]string{server()}, quotagate.WithTimeout(5*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	ctx := context.Background()
	permit, err := client.Acquire(ctx, quotagate.Request{
		Org: "example", Operation: "conversations.delete", ExecutionUser: "ann",
	})
	var denied *quotagate.DeniedError
	if errors.As(err, &denied) {
		log.Fatalf("try again in %v", denied.RetryAfter)
	} else if err != nil {
		log.Fatal(err)
	}
	defer permit.Close() // gives back what is never started

	call, err := permit.Start()
	if err != nil {
		log.Fatal(err)
	}
	// … the call itself, as permit.ExecutionUser …
	result := permit.Report(ctx, call, quotagate.Answer{Status: http.StatusNoContent})

	limit := permit.Limits[0]
	fmt.Printf("%d of %d used as %s: %s\n", limit.GetUsedByCaller(), limit.GetMax(), permit.ExecutionUser, result.Advice)
	// Output: 1 of 10 used as ann: CONTINUE
}

// All calls of an http.Client take a permit first.
func ExampleNewTransport() {
	client, err := quotagate.New([]string{server()}, quotagate.WithTimeout(5*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	salesforce := http.Client{Transport: quotagate.NewTransport(nil, client, quotagate.Options{
		Org: "example", ExecutionUser: "bob",
	})}
	resp, err := salesforce.Get(standIn() + "/services/data/v66.0/conversation-entries/1")
	if err != nil {
		log.Fatal(err) // a *quotagate.DeniedError, for one
	}
	defer resp.Body.Close()
	fmt.Println(resp.StatusCode)
	// Output: 401
}

// server is one that was started for the tests.
func server() string {
	address, err := quotagate.SharedServer()
	if err != nil {
		log.Fatal(err)
	}
	return address
}

// standIn answers that nobody is logged in.
func standIn() string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	return s.URL
}
