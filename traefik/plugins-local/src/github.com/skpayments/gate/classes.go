package gate

import (
	"strconv"
	"strings"
)

// One route rule of an app as the gate sends it, in the gate's normal form: a slash before and after every part.
type rule struct {
	Path    string   `json:"path"`
	Folded  string   `json:"folded"`
	Methods []string `json:"methods"`
	// It covers only paths that hold this, too, in any case.
	Within string `json:"within"`
}

// What the gate's answers for an app depend on besides who is asking. Guarded by shared.mu.
type app struct {
	id    string
	rules []rule
	// No rules are known: nothing can be kept.
	unknown bool
	// The class of each "GET/a/b blog.example.com" seen, in this generation; only of those that have one.
	classes map[string]string
}

const (
	maxClasses    = 10000
	maxClassBytes = 256
	maxPlainBytes = 2048
	// The gate's own: the way to the buyer's page, and what doctor asks.
	ownPaths   = "/.skpayments/"
	plainBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_~!$&'()*+,=:@./-"
)

// OPTIONS is missing: the gate's answer to it depends on more headers. So are the methods that few apps know.
var keepable = named("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

// classOf says which answers go for a request: to two requests of one class the gate gives the same. It is the app, the
// host, and which rules hold for the method and cover the path, literally and with its case folded. "": ask each time.
func classOf(appID string, rules []rule, method, path, host string) string {
	if !keepable[method] || !plain(path) {
		return ""
	}
	normal := path
	if !strings.HasSuffix(normal, "/") {
		normal += "/"
	}
	folded := strings.ToLower(normal)
	if strings.HasPrefix(folded, ownPaths) {
		return ""
	}
	class := appID + "\x00"
	for i, r := range rules {
		if !holds(r.Methods, method) || r.Within != "" && !strings.Contains(folded, r.Within) {
			continue
		}
		if strings.HasPrefix(normal, r.Path) {
			class += strconv.Itoa(i) + "l"
		}
		if strings.HasPrefix(folded, r.Folded) {
			class += strconv.Itoa(i) + "f"
		}
	}
	return class + "\x00" + host + "\x00"
}

// ofGeneration: a class is found among the answers of one generation only.
func ofGeneration(generation int64, class string) string {
	return strconv.FormatInt(generation, 10) + "\x00" + class
}

// remember keeps the class of a request for ServeHTTP. shared.mu is held.
func remember(a *app, name, class string) {
	if len(name) > maxClassBytes {
		return
	}
	if len(a.classes) >= maxClasses {
		a.classes = map[string]string{}
	}
	a.classes[name] = class
}

// plain says that a path can be read in one way only. A part that ends in a dot is another one to Windows.
func plain(path string) bool {
	if len(path) > maxPlainBytes || !strings.HasPrefix(path, "/") || strings.TrimLeft(path, plainBytes) != "" {
		return false
	}
	return !strings.Contains(path, "//") && !strings.Contains(path+"/", "./")
}

// holds says that a rule for these methods is one for this method; the gate adds HEAD to GET.
func holds(methods []string, method string) bool {
	if len(methods) == 0 {
		return true
	}
	for _, name := range methods {
		if name == method {
			return true
		}
	}
	return false
}
