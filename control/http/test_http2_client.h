// An HTTP/2 client for tests over TlsClient: nghttp2 frames what it is told to, and raw bytes may go between. Blocking.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control/http/test_client.h"

namespace sluice::http::testing {

class Http2Client {
public:
    struct Options {
        TlsClient::Options tls;
        std::uint32_t window = 65'535;  // of each stream
        bool greets = true;             // sends the preface and SETTINGS at once
    };
    struct Stream {
        Reply reply;  // headers and body so far
        bool closed = false;
        std::uint32_t error = 0;  // of RST_STREAM
        std::string body;         // still to be sent
        bool body_ends = true;
    };
    using Headers = std::vector<std::pair<std::string, std::string>>;

    static std::unique_ptr<Http2Client> connect(std::uint16_t port, const Options& options);
    static std::unique_ptr<Http2Client> connect(std::uint16_t port) { return connect(port, {}); }
    ~Http2Client();
    Http2Client(const Http2Client&) = delete;
    Http2Client& operator=(const Http2Client&) = delete;

    // Queues a request; the next pump sends it. ends: false leaves the request open after its body.
    std::int32_t request(const std::string& method, const std::string& target,
                         const Headers& headers = {}, const std::string& body = {},
                         bool ends = true);
    void reset(std::int32_t id, std::uint32_t error = NGHTTP2_CANCEL);
    void ping();
    void flush();
    // Sends and reads until the condition holds; false when the connection ends or is silent first.
    bool pump_until(const std::function<bool()>& condition);
    // The whole answer.
    const Stream& wait(std::int32_t id);

    [[nodiscard]] Stream& stream(std::int32_t id) { return streams_[id]; }
    [[nodiscard]] bool ended() const { return ended_; }
    // Of a GOAWAY; nullopt without one.
    [[nodiscard]] std::optional<std::uint32_t> goaway() const { return goaway_; }
    [[nodiscard]] std::uint32_t peer_setting(int id) const;
    TlsClient& raw() { return *tls_; }

private:
    Http2Client() = default;
    static nghttp2_session_callbacks* callbacks();

    std::unique_ptr<TlsClient> tls_;
    nghttp2_session* session_ = nullptr;
    std::map<std::int32_t, Stream> streams_;
    std::optional<std::uint32_t> goaway_;
    bool ended_ = false;
};

}  // namespace sluice::http::testing
