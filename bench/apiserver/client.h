// A client that costs as little as a client can, so that what is measured is the server: one TLS connection, requests
// as ready bytes, answers read and, but for their status and length, thrown away. HTTP/1.1 with keep-alive.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "api/base/result.h"

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

    // The status; kUnavailable when the connection broke. `begin`: the answer's first bytes, or null.
    Result<int> exchange(const Request& request, std::string* begin = nullptr);
    // Reads a chunked answer piece by piece until `take` says no, or the server ends it.
    Result<void> stream(const Request& request, const std::function<bool(std::string_view)>& take);
    // Of all answers, headers included.
    [[nodiscard]] std::uint64_t bytes_received() const { return received_; }
    // From another thread: a read that waits ends.
    void interrupt() const;

private:
    Client();
    Result<void> send(const Request& request);
    Result<void> fill();
    struct Head {
        int status = 0;
        std::size_t length = 0;
        bool chunked = false;
    };
    Result<Head> read_head();
    // Hands out the next `count` bytes of the connection, in pieces.
    Result<void> read_exactly(std::size_t count, const std::function<void(std::string_view)>& take);
    Result<std::size_t> read_chunk_size();

    std::unique_ptr<Tls> tls_;
    std::string out_;
    std::string buffer_;
    std::size_t at_ = 0;
    std::uint64_t received_ = 0;
    std::string host_;
};

}  // namespace sluice::bench
