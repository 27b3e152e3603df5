// The typed client of a Kubernetes API server: get, list, watch, create, update, patch, delete.
// Protobuf first, JSON when the server has only that. Objects are the messages of api/kubernetes, named by
// codec::KindInfo.
//
// Calls block; any number of threads may call. A stop token ends a call with kCancelled.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "api/base/result.h"
#include "api/client/errors.h"
#include "api/client/frames.h"
#include "api/client/http.h"
#include "api/codec/scheme.h"

namespace google::protobuf {
class Message;
}

namespace sluice::client {

using Object = std::unique_ptr<google::protobuf::Message>;

// What to list or watch. Empty strings are not sent.
struct Selection {
    std::string namespace_name;  // empty: all
    std::string label_selector;
    std::string field_selector;
};

struct ListRequest {
    Selection selection;
    std::string resource_version;        // "0": whatever the server has at hand
    std::string resource_version_match;  // "Exact", "NotOlderThan"
    std::uint32_t limit = 0;             // 0: all at once
    std::string continue_token;
};

// What of an object must still be true for a deletion, and how it is to go. Empty strings are not sent.
struct DeleteRequest {
    std::optional<std::int64_t> grace_seconds;
    std::string uid;
    std::string resource_version;
    std::string propagation_policy;  // "Background", "Foreground", "Orphan"
};

struct WatchRequest {
    Selection selection;
    std::string resource_version;
    std::uint32_t timeout_s = 0;  // 0: the server's own
    bool bookmarks = true;
    // First the objects that exist, then a bookmark with kInitialEventsEnd, then changes.
    bool send_initial_events = false;
};

// The annotation on the bookmark that ends the initial events; its value is "true".
inline constexpr char kInitialEventsEnd[] = "k8s.io/initial-events-end";

struct WatchEvent {
    enum class Type : std::uint8_t { kAdded, kModified, kDeleted, kBookmark };
    Type type = Type::kAdded;
    Object object;
};

// One event from a frame. An ERROR event comes back as its ApiError; kDataLoss for what is no event of the kind.
[[nodiscard]] ApiResult<WatchEvent> decode_watch_event(Encoding encoding, std::string_view frame,
                                                       const codec::KindInfo& kind);

// One thread.
class WatchStream {
public:
    WatchStream(std::unique_ptr<HttpStream> stream, Encoding encoding, const codec::KindInfo& kind)
        : stream_(std::move(stream)), frames_(encoding), encoding_(encoding), kind_(kind) {}

    // Waits for the next event. A watch that the server ended in good order is kOutOfRange with http_status 0 and
    // reason "EndOfStream"; all errors end the stream.
    ApiResult<WatchEvent> next(std::uint32_t timeout_ms);
    // True if next() would return without waiting.
    [[nodiscard]] ApiResult<bool> ready();

private:
    std::unique_ptr<HttpStream> stream_;
    FrameReader frames_;
    Encoding encoding_;
    const codec::KindInfo& kind_;
    std::optional<std::string_view> frame_;
    std::string chunk_;
};

class Client {
public:
    static Result<std::unique_ptr<Client>> create(const ClientConfig& config,
                                                  std::string user_agent);
    // For tests and for other transports.
    explicit Client(std::unique_ptr<HttpClient> http) : http_(std::move(http)) {}

    ApiResult<Object> get(const codec::KindInfo& kind, const std::string& namespace_name,
                          const std::string& name, std::stop_token stop = {});
    // A list message (kind.list_prototype).
    ApiResult<Object> list(const codec::KindInfo& kind, const ListRequest& request,
                           std::stop_token stop = {});
    ApiResult<std::unique_ptr<WatchStream>> watch(const codec::KindInfo& kind,
                                                  const WatchRequest& request,
                                                  std::stop_token stop = {});
    // The object as the server stored it.
    ApiResult<Object> create_object(const codec::KindInfo& kind,
                                    const google::protobuf::Message& object,
                                    std::stop_token stop = {});
    // subresource: "" or "status".
    ApiResult<Object> update(const codec::KindInfo& kind, const google::protobuf::Message& object,
                             const std::string& subresource = {}, std::stop_token stop = {});
    // content_type: "application/merge-patch+json" or another of the three.
    ApiResult<Object> patch(const codec::KindInfo& kind, const std::string& namespace_name,
                            const std::string& name, const std::string& content_type,
                            std::string body, const std::string& subresource = {},
                            std::stop_token stop = {});
    ApiResult<void> remove(const codec::KindInfo& kind, const std::string& namespace_name,
                           const std::string& name, std::stop_token stop = {});
    ApiResult<void> remove(const codec::KindInfo& kind, const std::string& namespace_name,
                           const std::string& name, const DeleteRequest& request,
                           std::stop_token stop = {});
    // POST of `body`, a message that is no kind of the scheme (a Binding, say), to a subresource. What the server
    // answers beyond success is not looked at.
    ApiResult<void> post(const codec::KindInfo& kind, const std::string& namespace_name,
                         const std::string& name, const std::string& subresource,
                         const codec::GroupVersionKind& body_kind,
                         const google::protobuf::Message& body, std::stop_token stop = {});
    // The same, with what the server answered, which is of the body's type (a TokenRequest, say).
    ApiResult<Object> post_for_answer(const codec::KindInfo& kind, const std::string& namespace_name,
                                      const std::string& name, const std::string& subresource,
                                      const codec::GroupVersionKind& body_kind,
                                      const google::protobuf::Message& body, std::stop_token stop = {});

    [[nodiscard]] std::string server() const { return http_->config().url(); }

private:
    ApiResult<Object> exchange(HttpRequest request, const google::protobuf::Message& prototype,
                               const std::stop_token& stop);
    ApiResult<void> send(HttpRequest request, const std::stop_token& stop);

    std::unique_ptr<HttpClient> http_;
};

// "/api/v1/namespaces/ns/services/name/sub" or "/apis/G/V/..."; empty parts are left out.
[[nodiscard]] std::string resource_path(const codec::KindInfo& kind,
                                        const std::string& namespace_name,
                                        const std::string& name,
                                        const std::string& subresource = {});

}  // namespace sluice::client
