package gate

import (
	"context"
	"log"
	"net/http"
	"time"
)

// How often an earlier address is tried while a later one is in use.
const retryFirst = time.Second

// current returns the index of the address that is called first.
func current(s *shared) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.current
}

// use calls address i first from now on, if the one called first until then, before, gave no answer. Requests never wait
// for a test of the earlier ones.
func use(s *shared, before, i int) {
	if i == before {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != before {
		return
	}
	s.current = i
	log.Printf("the gate at %s does not answer: using %s", s.addresses[before], s.addresses[i])
	if before == 0 {
		go goBack(s)
	}
}

// goBack waits for the first address that answers before the one in use, until the very first one does.
func goBack(s *shared) {
	for i := current(s); i > 0 && inUse(s); i = current(s) {
		time.Sleep(retryFirst)
		for n := range s.addresses[:i] {
			if ready(s, n) {
				goBackTo(s, n)
				break
			}
		}
	}
}

func goBackTo(s *shared, i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i < s.current {
		s.current = i
		log.Printf("the gate at %s answers again: using it", s.addresses[i])
	}
}

// ready reports whether the gate at an address can be called.
func ready(s *shared, i int) bool {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	question, err := http.NewRequestWithContext(ctx, http.MethodGet, s.addresses[i]+"/ready", nil)
	if err != nil {
		return false
	}
	response, err := s.transport.RoundTrip(question)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}
