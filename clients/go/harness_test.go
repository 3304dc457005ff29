package quotagate

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// repository is the top of the tree that this package is tested in.
const repository = "../.."

func TestMain(m *testing.M) {
	if work := os.Getenv("QUOTAGATE_TEST_FLEET"); work != "" {
		os.Exit(fleetMember(work)) // this process was started by a test of this binary
	}
	flag.Parse()
	code := m.Run()
	shared.stop()
	os.Exit(code)
}

// program is a running quotagate.
type program struct {
	command *exec.Cmd
	output  *os.File
	said    map[string]string // by the first word of each line so far
}

// start runs quotagate until it has said that many lines of the form WORD VALUE.
func start(lines int, args ...string) (*program, error) {
	binary := os.Getenv("QUOTAGATE_BIN")
	if binary == "" {
		binary = filepath.Join(repository, "target/debug/quotagate")
	}
	command := exec.Command(binary, args...)
	command.Stderr = os.Stderr
	ours, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	command.Stdout = theirs
	err = command.Start()
	_ = theirs.Close()
	if err != nil {
		_ = ours.Close()
		return nil, err
	}
	p := &program{command: command, output: ours, said: map[string]string{}}
	reader := bufio.NewReader(ours)
	for len(p.said) < lines {
		line, err := reader.ReadString('\n')
		if err != nil {
			p.stop()
			return nil, fmt.Errorf("quotagate %s: it ended before it was ready", strings.Join(args, " "))
		}
		if words := strings.Fields(line); len(words) == 2 {
			p.said[words[0]] = strings.TrimSuffix(words[1], "/")
		}
	}
	go func() { _, _ = io.Copy(io.Discard, reader) }() // so that it never waits to print
	return p, nil
}

// signal sends a signal to the program.
func (p *program) signal(s os.Signal) { _ = p.command.Process.Signal(s) }

// stop ends the program at once.
func (p *program) stop() {
	if p == nil {
		return
	}
	p.signal(syscall.SIGKILL)
	_ = p.command.Wait()
	_ = p.output.Close()
}

func startServer(config string, args ...string) (*program, error) {
	args = append([]string{
		"serve", "--store", "memory:", "--http", "127.0.0.1:0",
		"--config", filepath.Join(repository, "clients/conformance", config),
	}, args...)
	return start(2, args...)
}

// server is a server of the test's own; on any port if grpc is empty.
func server(t *testing.T, config, grpc string) *program {
	t.Helper()
	if grpc == "" {
		grpc = "127.0.0.1:0"
	}
	p, err := startServer(config, "--grpc", grpc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	return p
}

func standin(t *testing.T, args ...string) string {
	t.Helper()
	p, err := start(1, append([]string{"standin", "--listen", "127.0.0.1:0"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	return p.said["stand-in"]
}

// shared is a server that all tests use that have an org of their own.
var shared sharedServer

type sharedServer struct {
	once    sync.Once
	program *program
	err     error
}

func (s *sharedServer) address() (string, error) {
	s.once.Do(func() { s.program, s.err = startServer("config.yaml", "--grpc", "127.0.0.1:0") })
	if s.err != nil {
		return "", s.err
	}
	return s.program.said["gRPC"], nil
}

func (s *sharedServer) stop() { s.program.stop() }

func sharedAddress(t *testing.T) string {
	t.Helper()
	address, err := shared.address()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func newClient(t *testing.T, servers []string, opts ...Option) *Client {
	t.Helper()
	client, err := New(servers, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func acquire(t *testing.T, client *Client, request Request) *Permit {
	t.Helper()
	permit, err := client.Acquire(context.Background(), request)
	if err != nil {
		t.Fatal(err)
	}
	return permit
}

// eventually asks until it is so; for what becomes so in the background.
func eventually(t *testing.T, what string, isSo func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if isSo() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it did not come about: %s", what)
		}
	}
}

// summary is what the stand-in says that it saw.
type summary struct {
	ElapsedMS uint64 `json:"elapsed_ms"`
	Arrivals  int    `json:"arrivals"`
	Refused   int    `json:"refused"`
	Overruns  int    `json:"overruns"`
}

func arrived(t *testing.T, standin string) summary {
	t.Helper()
	resp, err := http.Get(standin + "/standin")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var s summary
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// session is a header of the stand-in's, which looks into no session.
func session(request *http.Request, org, user string) {
	request.Header.Set("Authorization", "Bearer "+org+"!"+user)
}
