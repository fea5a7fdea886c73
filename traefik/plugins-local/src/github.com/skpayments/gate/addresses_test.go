package gate

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// closed is an address where nothing listens yet.
func closed(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func passing(t *testing.T, addresses ...string) *Middleware {
	t.Helper()
	return middlewareOf(t, during(t), addresses, func(w http.ResponseWriter, r *http.Request) {})
}

func (g *aGate) url() string { return "http://" + g.Listener.Addr().String() }

func inUseIs(m *Middleware, i int) func() bool {
	return func() bool { return current(m.shared) == i }
}

func TestTheFirstAddressIsUsedWhileItAnswers(t *testing.T) {
	first, second := newGate(t), newGate(t)
	m := passing(t, first.url(), second.url())
	eventually(t, "a stream", func() bool { return first.streams.Load() == 1 })
	for i := 0; i < 20; i++ {
		if w := serve(m, "POST", http.Header{"X-New": {"1"}}); w.Code != http.StatusOK {
			t.Fatal(w.Code)
		}
	}
	if second.asked.Load() != 0 || second.streams.Load() != 0 || current(m.shared) != 0 {
		t.Error(second.asked.Load(), second.streams.Load())
	}
}

func TestWithoutTheFirstTheNextIsUsed(t *testing.T) {
	second := newGate(t)
	m := passing(t, "http://"+closed(t), second.url())
	if w := serve(m, "GET", nil); w.Code != http.StatusOK {
		t.Fatal(w.Code)
	}
	eventually(t, "the second in use", inUseIs(m, 1))
	eventually(t, "a stream of the second", func() bool { return second.streams.Load() == 1 })
}

func TestTheFirstIsUsedOnceItIsBack(t *testing.T) {
	first, second := newGate(t), newGate(t)
	first.refuse.Store(http.StatusServiceUnavailable)
	m := passing(t, first.url(), second.url())
	if w := serve(m, "GET", nil); w.Code != http.StatusOK {
		t.Fatal(w.Code)
	}
	eventually(t, "the second in use", inUseIs(m, 1))
	first.refuse.Store(0)
	eventually(t, "the first in use", inUseIs(m, 0))
}

func TestAGateThatCannotAnswerIsReplacedAndOneWithoutAnIdentityProviderIsNot(t *testing.T) {
	for code, served := range map[string]bool{"not_ready": true, "stopping": true, "identity_unavailable": false} {
		first, second := newGate(t), newGate(t)
		first.code = code
		first.refuse.Store(http.StatusServiceUnavailable)
		m := passing(t, first.url(), second.url())
		w := serve(m, "GET", nil)
		if served != (w.Code == http.StatusOK) || served != (second.asked.Load() == 1) {
			t.Error(code, w.Code, second.asked.Load())
		}
		if served {
			eventually(t, "the second in use", inUseIs(m, 1))
		}
	}
}

func TestAGateThatDoesNotAnswerDelaysOnlyTheFirstRequests(t *testing.T) {
	release := make(chan struct{})
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-release }))
	defer first.Close()
	defer close(release)
	second := newGate(t)
	m := passing(t, first.URL, second.url())
	if w := serve(m, "GET", nil); w.Code != http.StatusOK {
		t.Fatal(w.Code)
	}
	eventually(t, "the second in use", inUseIs(m, 1))
	began := time.Now()
	for i := 0; i < 20; i++ {
		if w := serve(m, "POST", http.Header{"X-New": {"1"}}); w.Code != http.StatusOK {
			t.Fatal(w.Code)
		}
	}
	if time.Since(began) > 10*time.Second {
		t.Error("each waited for the first one")
	}
}

func TestWithoutAnyGateRequestsAreRefusedAndKeptAnswersServe(t *testing.T) {
	g := newGate(t)
	m := passing(t, g.url(), "http://"+closed(t))
	eventually(t, "a kept answer", func() bool {
		before := g.asked.Load()
		serve(m, "GET", nil)
		return g.asked.Load() == before
	})
	g.CloseClientConnections()
	g.Close()
	if w := serve(m, "GET", nil); w.Code != http.StatusOK {
		t.Error(w.Code)
	}
	if w := serve(m, "GET", http.Header{"Cookie": {"other"}}); w.Code != http.StatusServiceUnavailable {
		t.Error(w.Code)
	}
}
