// One program, three parts: a model server that costs little, the reverse proxy that the gateway is
// measured against, and a load that arrives when it is due, whatever became of what came before.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sort"
	"sync"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		log.Fatal("upstream, proxy or load")
	}
	part, rest := os.Args[1], os.Args[2:]
	switch part {
	case "upstream":
		upstream(rest)
	case "proxy":
		proxy(rest)
	case "load":
		load(rest)
	default:
		log.Fatalf("no part is called %q", part)
	}
}

func serve(address string, handler http.Handler) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(http.Serve(listener, handler))
}

// Events as Triton's generate_stream sends them, and one tensor as its infer does.
func upstream(arguments []string) {
	flags := flag.NewFlagSet("upstream", flag.ExitOnError)
	delay := flags.Duration("delay", 0, "before the first token")
	gap := flags.Duration("gap", 0, "between tokens")
	flags.Parse(arguments)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/models/gpt/config", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"parameters":{"max_context":{"string_value":"4096"}}}`)
	})
	mux.HandleFunc("POST /v2/models/gpt/infer", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		time.Sleep(*delay)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"model_name":"gpt","outputs":[{"name":"OUTPUT_TOKENS","datatype":"INT32","shape":[1,1],"data":[8]}]}`)
	})
	mux.HandleFunc("POST /v2/models/gpt/generate_stream", func(w http.ResponseWriter, r *http.Request) {
		var outer struct{ REQUEST string }
		var asked struct {
			MaxTokens int `json:"max_tokens"`
		}
		if json.NewDecoder(r.Body).Decode(&outer) != nil || json.Unmarshal([]byte(outer.REQUEST), &asked) != nil {
			http.Error(w, "{}", 400)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		time.Sleep(*delay)
		for token := 1; token <= asked.MaxTokens; token++ {
			finish := ""
			if token == asked.MaxTokens {
				finish = "length"
			}
			fmt.Fprintf(w, "data: {\"FINISH_REASON\":\"%s\",\"INPUT_TOKENS\":8,\"OUTPUT_TOKENS\":%d,\"TEXT\":\"token%d \",\"model_name\":\"gpt\",\"model_version\":\"1\"}\n\n", finish, token, token)
			w.(http.Flusher).Flush()
			if *gap > 0 && token < asked.MaxTokens {
				time.Sleep(*gap)
			}
		}
	})
	serve("127.0.0.1:0", mux)
}

// net/http/httputil with a pool of connections that suits one target.
func proxy(arguments []string) {
	flags := flag.NewFlagSet("proxy", flag.ExitOnError)
	to := flags.String("to", "", "URL of the upstream")
	flags.Parse(arguments)
	target, err := url.Parse(*to)
	if err != nil {
		log.Fatal(err)
	}
	handler := httputil.NewSingleHostReverseProxy(target)
	handler.FlushInterval = -1
	handler.Transport = &http.Transport{MaxIdleConns: 4096, MaxIdleConnsPerHost: 4096, IdleConnTimeout: time.Minute, DisableCompression: true}
	serve("127.0.0.1:0", handler)
}

type result struct {
	Requests int     `json:"requests"`
	Errors   int     `json:"errors"`
	Chunks   int     `json:"chunks"`
	P50      float64 `json:"p50"`
	P99      float64 `json:"p99"`
}

func load(arguments []string) {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	to := flags.String("to", "", "URL")
	body := flags.String("body", "", "what is sent")
	key := flags.String("key", "", "the caller's key")
	rate := flags.Float64("rate", 100, "requests a second")
	seconds := flags.Float64("seconds", 5, "how long")
	flags.Parse(arguments)
	client := &http.Client{Transport: &http.Transport{MaxIdleConns: 4096, MaxIdleConnsPerHost: 4096, DisableCompression: true}}
	var lock sync.Mutex
	var all result
	var took []float64
	var wait sync.WaitGroup
	begin := time.Now()
	for n := 0; n < int(*rate**seconds); n++ {
		due := begin.Add(time.Duration(float64(n) / *rate * float64(time.Second)))
		time.Sleep(time.Until(due))
		wait.Add(1)
		go func() {
			defer wait.Done()
			chunks, err := ask(client, *to, *body, *key)
			elapsed := time.Since(due).Seconds()
			lock.Lock()
			defer lock.Unlock()
			all.Requests++
			all.Chunks += chunks
			if err != nil {
				if all.Errors == 0 {
					log.Print(err)
				}
				all.Errors++
			}
			took = append(took, elapsed)
		}()
	}
	wait.Wait()
	sort.Float64s(took)
	all.P50, all.P99 = took[len(took)/2], took[len(took)*99/100]
	json.NewEncoder(os.Stdout).Encode(all)
}

func ask(client *http.Client, to, body, key string) (int, error) {
	request, err := http.NewRequest("POST", to, bytes.NewBufferString(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+key)
	answer, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	chunks := 0
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		if bytes.HasPrefix(lines.Bytes(), []byte("data: {")) {
			chunks++
		}
	}
	if answer.StatusCode != 200 {
		return chunks, fmt.Errorf("status %d", answer.StatusCode)
	}
	return chunks, lines.Err()
}
