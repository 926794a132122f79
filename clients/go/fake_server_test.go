package eventflowdb_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// hangUp as an answer closes the connection, silence leaves the request unanswered; anything else is sent as it is.
const (
	hangUp  = "hang up"
	silence = "silence"
)

// fakeServer counts the requests it gets and answers them as a test wants.
type fakeServer struct {
	addr   string
	answer func(words []string) string
	// turns: a test's answer is asked for by one connection at a time, and so may have a memory.
	turns sync.Mutex

	mutex  sync.Mutex
	counts map[string]int
	last   []string
}

// newFakeServer listens until the test ends. Commands of the handshake are answered as by a server that knows none,
// unless the test answers them.
func newFakeServer(t *testing.T, answer func(words []string) string) *fakeServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &fakeServer{addr: listener.Addr().String(), answer: answer, counts: map[string]int{}}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go server.converse(connection)
		}
	}()
	return server
}

// count is how often a command has come, on all connections.
func (s *fakeServer) count(command string) int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.counts[command]
}

// lastWords are those of the last request.
func (s *fakeServer) lastWords() []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.last
}

func (s *fakeServer) converse(connection net.Conn) {
	defer func() { _ = connection.Close() }()
	reader := bufio.NewReader(connection)
	for {
		words, err := readWords(reader)
		if err != nil {
			return
		}
		s.mutex.Lock()
		s.counts[words[0]]++
		s.last = words
		s.mutex.Unlock()
		switch reply := s.reply(words); {
		case reply == hangUp:
			return
		case reply == silence:
		case strings.HasSuffix(reply, hangUp):
			_, _ = io.WriteString(connection, strings.TrimSuffix(reply, hangUp))
			return
		default:
			if _, err := io.WriteString(connection, reply); err != nil {
				return
			}
		}
	}
}

func (s *fakeServer) reply(words []string) string {
	s.turns.Lock()
	defer s.turns.Unlock()
	if reply := s.answer(words); reply != "" {
		return reply
	}
	return "-ERR unknown command '" + words[0] + "'\r\n"
}

// readWords reads one request, an array of bulk strings; the command is returned in upper case.
func readWords(reader *bufio.Reader) ([]string, error) {
	count, err := readLength(reader, '*')
	if err != nil {
		return nil, err
	}
	words := make([]string, count)
	for i := range words {
		size, err := readLength(reader, '$')
		if err != nil {
			return nil, err
		}
		text := make([]byte, size+2)
		if _, err := io.ReadFull(reader, text); err != nil {
			return nil, err
		}
		words[i] = string(text[:size])
	}
	words[0] = strings.ToUpper(words[0])
	return words, nil
}

func readLength(reader *bufio.Reader, mark byte) (int, error) {
	line, err := reader.ReadString('\n')
	if err != nil {
		return 0, err
	}
	if line[0] != mark {
		return 0, fmt.Errorf("expected %q, got %q", mark, line)
	}
	return strconv.Atoi(strings.TrimSpace(line[1:]))
}

// bulks is an array of bulk strings.
func bulks(texts ...string) string {
	var reply strings.Builder
	fmt.Fprintf(&reply, "*%d\r\n", len(texts))
	for _, text := range texts {
		fmt.Fprintf(&reply, "$%d\r\n%s\r\n", len(text), text)
	}
	return reply.String()
}
