package quotagate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The fleet shares 90 calls a minute, with all times divided by 30.
const (
	fleetProcesses = 8
	fleetThreads   = 8 // of each process: enough to ask for all that there is
	fleetLimit     = 90
	fleetWindow    = 2 * time.Second
	fleetTime      = 20 * time.Second
)

// fleetWork is what a process of the fleet is told.
type fleetWork struct {
	Server, Salesforce string
	For                time.Duration
}

// fleetMember is main of a process of the fleet.
func fleetMember(work string) int {
	var told fleetWork
	if err := json.Unmarshal([]byte(work), &told); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	client, err := New([]string{told.Server}, WithCaller(fmt.Sprint(os.Getpid())))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	caller := http.Client{Transport: NewTransport(nil, client, Options{
		Org: "fleet", ExecutionUser: "ann", MaxWait: 5 * time.Second,
		Rules: func(*http.Request) (string, int) { return "compressed.get", 1 },
	})}
	ctx, cancel := context.WithTimeout(context.Background(), told.For)
	defer cancel()
	var threads sync.WaitGroup
	for range fleetThreads {
		threads.Add(1)
		go func() {
			defer threads.Done()
			for ctx.Err() == nil {
				request, err := http.NewRequestWithContext(ctx, http.MethodGet,
					told.Salesforce+"/services/data/v66.0/conversation-entries", nil)
				if err != nil {
					panic(err)
				}
				session(request, "fleet", "ann")
				resp, err := caller.Do(request)
				if err != nil {
					// The last wait of each ends with the time of the fleet.
					var denied *DeniedError
					if !errors.As(err, &denied) && !errors.Is(err, context.DeadlineExceeded) {
						fmt.Fprintln(os.Stderr, "fleet:", err)
					}
					continue
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		}()
	}
	threads.Wait()
	_ = client.Close()
	return 0
}

// Eight processes that know nothing of each other use what there is, all of it,
// and no more; one of them is killed in the middle.
func TestAFleetUsesAllOfALimitAndNoMore(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 20 s")
	}
	address := server(t, "config.yaml", "").said["gRPC"]
	salesforce := standin(t, "--scale", "0.0333")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	work, err := json.Marshal(fleetWork{Server: address, Salesforce: salesforce, For: fleetTime})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var members []*exec.Cmd
	for range fleetProcesses {
		member := exec.Command(self)
		member.Env = append(os.Environ(), "QUOTAGATE_TEST_FLEET="+string(work))
		member.Stderr = os.Stderr
		if err := member.Start(); err != nil {
			t.Fatal(err)
		}
		members = append(members, member)
	}
	time.AfterFunc(fleetTime/2, func() { _ = members[0].Process.Signal(syscall.SIGKILL) })
	for i, member := range members {
		if err := member.Wait(); (err != nil) != (i == 0) {
			t.Errorf("process %d ended with %v", i, err)
		}
	}
	ran := time.Since(began)

	seen := arrived(t, salesforce)
	if seen.Refused > 0 || seen.Overruns > 0 {
		t.Errorf("%d calls were refused, %d were too many", seen.Refused, seen.Overruns)
	}
	// What a killed process held is lost until its permits have left the window.
	windows := float64(min(ran, fleetTime)) / float64(fleetWindow)
	// On a machine with other work to do room stands empty while processes wait for a
	// processor: QUOTAGATE_FLEET_LEAST=98 is for a quiet one.
	percent := 50.0
	if text := os.Getenv("QUOTAGATE_FLEET_LEAST"); text != "" {
		var err error
		if percent, err = strconv.ParseFloat(text, 64); err != nil {
			t.Fatal(err)
		}
	}
	least := int(percent/100*fleetLimit*windows) - fleetThreads
	t.Logf("%d calls in %.1f windows, at least %d wanted", seen.Arrivals, windows, least)
	if seen.Arrivals < least {
		t.Errorf("%d calls were made, want at least %d", seen.Arrivals, least)
	}
}
