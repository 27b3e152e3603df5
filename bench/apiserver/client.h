// A client that costs as little as a client can, so that what is measured is the server: one TLS connection, requests
// as ready bytes, answers read and, but for their status and length, thrown away. HTTP/1.1 with keep-alive.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"
#include "bench/apiserver/answer.h"

namespace sluice::bench {

struct Target {
    std::string host = "127.0.0.1";
    std::uint16_t port = 6443;
    std::string ca_file;
    std::string cert_file;
    std::string key_file;
};

struct Request {
    std::string_view method;
    std::string path;
    std::string_view accept = "application/json";
    std::string_view content_type;  // empty: no body
    std::string_view body;
};

inline constexpr std::size_t kKeptBytes = 512;  // of an answer

// Of one thread.
class Client {
public:
    struct Tls;

    static Result<std::unique_ptr<Client>> connect(const Target& target);
    ~Client();
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    // The status; kUnavailable when the connection broke. `begin`: the answer's first bytes, or null. REQUIRES: no
    // stop_waiting().
    Result<int> exchange(const Request& request, std::string* begin = nullptr);

    // An exchange in steps, for a thread with many clients: after send(), receive() whenever the connection can be
    // read, until it says that the answer is over. What comes of its body is handed to `take`.
    Result<void> send(const Request& request);
    Result<bool> receive(const Answer::Take& take);
    // Of the answer that is received.
    [[nodiscard]] int status() const { return answer_.status(); }

    // From now on receive() returns when there is nothing to read, instead of waiting.
    void stop_waiting();
    [[nodiscard]] int fd() const;
    // Of all answers, headers included.
    [[nodiscard]] std::uint64_t bytes_received() const { return received_; }

private:
    Client();
    // What came, in buffer_; empty when nothing did and receive() is not to wait.
    Result<std::string_view> read();

    std::unique_ptr<Tls> tls_;
    std::string out_;
    std::vector<char> buffer_;
    Answer answer_;
    std::uint64_t received_ = 0;
    std::string host_;
};

}  // namespace sluice::bench
