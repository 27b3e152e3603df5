// See client.h.
#include "api/client/client.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <charconv>
#include <utility>

#include "api/codec/json.h"
#include "api/codec/protobuf.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::client {
namespace {

namespace meta = codec::metav1;

constexpr std::string_view kProtobufType = "application/vnd.kubernetes.protobuf";
constexpr std::string_view kJsonType = "application/json";
constexpr std::size_t kMaxQuotedBytes = 256;
constexpr std::size_t kWatchChunkBytes = 64U << 10U;

ApiError data_loss(std::string message) { return Error{Code::kDataLoss, std::move(message), 0}; }

// The content type without its parameters, in lower case.
std::string media_type(std::string_view header) {
    std::string out(header.substr(0, header.find(';')));
    while (!out.empty() && out.back() == ' ') out.pop_back();
    std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) {
        return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    });
    return out;
}

ApiResult<Encoding> encoding_of(const HttpHead& head) {
    const std::string type = media_type(head.header("content-type"));
    if (type == kProtobufType) return Encoding::kProtobuf;
    if (type == kJsonType) return Encoding::kJson;
    return tl::unexpected(data_loss(fmt::format(
        "the answer is \"{}\", neither protobuf nor JSON", head.header("content-type"))));
}

Result<void> decode_into(Encoding encoding, std::string_view body,
                         google::protobuf::Message* message) {
    if (encoding == Encoding::kJson) return codec::decode_json(body, message);
    SLUICE_TRY_ASSIGN(const codec::Envelope envelope, codec::open_envelope(body));
    return codec::decode_protobuf_raw(envelope.raw, message);
}

// What a body says it is, in either encoding.
Result<codec::GroupVersionKind> kind_of_body(Encoding encoding, std::string_view body) {
    if (encoding == Encoding::kJson) return codec::peek_json_kind(body);
    SLUICE_TRY_ASSIGN(const codec::Envelope envelope, codec::open_envelope(body));
    return envelope.gvk;
}

std::optional<std::uint32_t> retry_after(const HttpHead& head) {
    const std::string_view text = head.header("retry-after");
    std::uint32_t seconds = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return seconds;
}

// From an answer that is not 2xx, whatever its body.
ApiError refusal(const HttpHead& head, const std::string& body, std::string_view what) {
    ApiError error;
    const auto encoding = encoding_of(head);
    meta::Status status;
    bool is_status = false;
    if (encoding) {
        const auto kind = kind_of_body(*encoding, body);
        is_status = kind && kind->kind == "Status" && decode_into(*encoding, body, &status);
    }
    if (is_status) {
        error = error_of(status);
        error.http_status = head.status;
        error.code = code_of(head.status, error.reason);
    } else {
        error.code = code_of(head.status, "");
        error.http_status = head.status;
        error.message = fmt::format("the server answered {}: {}", head.status,
                                    body.substr(0, kMaxQuotedBytes));
    }
    error.message = fmt::format("{}: {}", what, error.message);
    if (!error.retry_after_s) error.retry_after_s = retry_after(head);
    return error;
}

void add_parameter(std::string* target, std::string_view name, std::string_view value) {
    if (value.empty()) return;
    target->push_back(target->find('?') == std::string::npos ? '?' : '&');
    target->append(name).append("=").append(percent_encode(value));
}

void add_selection(std::string* target, const Selection& selection) {
    add_parameter(target, "labelSelector", selection.label_selector);
    add_parameter(target, "fieldSelector", selection.field_selector);
}

std::optional<WatchEvent::Type> event_type(std::string_view name) {
    if (name == "ADDED") return WatchEvent::Type::kAdded;
    if (name == "MODIFIED") return WatchEvent::Type::kModified;
    if (name == "DELETED") return WatchEvent::Type::kDeleted;
    if (name == "BOOKMARK") return WatchEvent::Type::kBookmark;
    return std::nullopt;
}

ApiResult<WatchEvent> unexpected(std::string message) {
    return tl::unexpected(data_loss(std::move(message)));
}

ApiResult<WatchEvent> error_event(const Result<void>& decoded, const meta::Status& status) {
    if (!decoded) return unexpected("watch: ERROR event: " + decoded.error().message);
    ApiError error = error_of(status);
    error.message = "watch: " + error.message;
    return tl::unexpected(std::move(error));
}

ApiResult<WatchEvent> decode_json_event(std::string_view frame, const codec::KindInfo& kind) {
    const auto document = codec::parse_json(frame);
    if (!document) return unexpected("watch event: " + document.error().message);
    const boost::json::object* event = document->if_object();
    const boost::json::value* type = event == nullptr ? nullptr : event->if_contains("type");
    const boost::json::value* object = event == nullptr ? nullptr : event->if_contains("object");
    if (type == nullptr || !type->is_string() || object == nullptr || !object->is_object()) {
        return unexpected("watch event without type and object");
    }
    if (type->get_string() == "ERROR") {
        meta::Status status;
        const auto decoded = codec::from_json_value(*object, &status);
        return error_event(decoded, status);
    }
    const auto known = event_type(type->get_string());
    if (!known) return unexpected(fmt::format("watch event of type \"{}\"",
                                              std::string_view(type->get_string())));
    WatchEvent out{*known, kind.new_object()};
    if (auto decoded = codec::from_json_value(*object, out.object.get()); !decoded) {
        return unexpected("watch event: " + decoded.error().message);
    }
    return out;
}

ApiResult<WatchEvent> decode_protobuf_event(std::string_view frame, const codec::KindInfo& kind) {
    meta::WatchEvent event;
    if (auto decoded = codec::decode_protobuf_raw(frame, &event); !decoded) {
        return unexpected("watch event: " + decoded.error().message);
    }
    const auto envelope = codec::open_envelope(event.object().raw());
    if (!envelope) return unexpected("watch event: object: " + envelope.error().message);
    if (event.type() == "ERROR") {
        meta::Status status;
        const auto decoded = codec::decode_protobuf_raw(envelope->raw, &status);
        return error_event(decoded, status);
    }
    const auto known = event_type(event.type());
    if (!known) return unexpected(fmt::format("watch event of type \"{}\"", event.type()));
    if (envelope->gvk.kind != kind.gvk.kind) {
        return unexpected(fmt::format("watch event with a {} where {} is due", envelope->gvk.kind,
                                      kind.gvk.kind));
    }
    WatchEvent out{*known, kind.new_object()};
    if (auto decoded = codec::decode_protobuf_raw(envelope->raw, out.object.get()); !decoded) {
        return unexpected("watch event: " + decoded.error().message);
    }
    return out;
}

}  // namespace

Code code_of(int http_status, std::string_view reason) {
    switch (http_status) {
        case 400:
        case 413:
        case 415:
        case 422: return Code::kInvalidArgument;
        case 401: return Code::kUnauthenticated;
        case 403: return Code::kPermissionDenied;
        case 404: return Code::kNotFound;
        case 405:
        case 406:
        case 501: return Code::kUnimplemented;
        case 409: return reason == "AlreadyExists" ? Code::kAlreadyExists : Code::kAborted;
        case 410: return Code::kOutOfRange;
        case 429: return Code::kResourceExhausted;
        case 504: return Code::kDeadlineExceeded;
        case 502:
        case 503: return Code::kUnavailable;
        case 500: return Code::kInternal;
        default: return Code::kUnknown;
    }
}

ApiError error_of(const meta::Status& status) {
    ApiError error;
    error.http_status = status.code();
    error.reason = status.reason();
    error.code = code_of(status.code(), status.reason());
    error.message = status.message().empty() ? status.reason() : status.message();
    if (status.details().retryafterseconds() > 0) {
        error.retry_after_s = static_cast<std::uint32_t>(status.details().retryafterseconds());
    }
    for (const auto& cause : status.details().causes()) {
        if (cause.reason() == "ResourceVersionTooLarge") error.version_too_large = true;
    }
    error.continue_token = status.metadata().continue_();
    return error;
}

ApiResult<WatchEvent> decode_watch_event(Encoding encoding, std::string_view frame,
                                         const codec::KindInfo& kind) {
    return encoding == Encoding::kProtobuf ? decode_protobuf_event(frame, kind)
                                           : decode_json_event(frame, kind);
}

ApiResult<bool> WatchStream::ready() {
    if (frame_) return true;
    auto frame = frames_.next();
    if (!frame) return tl::unexpected(ApiError(frame.error()));
    frame_ = *frame;
    return frame_.has_value();
}

ApiResult<WatchEvent> WatchStream::next(std::uint32_t timeout_ms) {
    while (true) {
        const auto waiting = ready();
        if (!waiting) return tl::unexpected(waiting.error());
        if (*waiting) return decode_watch_event(encoding_, *std::exchange(frame_, std::nullopt), kind_);
        chunk_.resize(kWatchChunkBytes);
        const auto got = stream_->read(chunk_.data(), chunk_.size(), timeout_ms);
        if (!got) return tl::unexpected(ApiError(got.error()));
        if (*got == 0) {
            if (frames_.pending() > 0) return unexpected("the watch ended within a frame");
            ApiError end(make_error(Code::kOutOfRange, "the server ended the watch"));
            end.reason = "EndOfStream";
            return tl::unexpected(std::move(end));
        }
        frames_.append(std::string_view(chunk_).substr(0, *got));
    }
}

std::string resource_path(const codec::KindInfo& kind, const std::string& namespace_name,
                          const std::string& name, const std::string& subresource) {
    std::string path = kind.gvk.group.empty()
                           ? "/api/" + kind.gvk.version
                           : "/apis/" + kind.gvk.group + "/" + kind.gvk.version;
    if (kind.namespaced && !namespace_name.empty()) {
        path += "/namespaces/" + percent_encode(namespace_name);
    }
    path += "/" + kind.resource;
    if (!name.empty()) path += "/" + percent_encode(name);
    if (!subresource.empty()) path += "/" + subresource;
    return path;
}

Result<std::unique_ptr<Client>> Client::create(const ClientConfig& config, std::string user_agent) {
    SLUICE_TRY_ASSIGN(auto http, HttpClient::create(config, std::move(user_agent)));
    return std::make_unique<Client>(std::move(http));
}

ApiResult<Object> Client::exchange(HttpRequest request, const google::protobuf::Message& prototype,
                                   const std::stop_token& stop) {
    const std::string what = fmt::format("{} {}", request.method, request.target);
    request.headers.emplace_back("Accept", fmt::format("{},{}", kProtobufType, kJsonType));
    auto response = http_->request(request, stop);
    if (!response) return tl::unexpected(ApiError(response.error()));
    if (response->head.status < 200 || response->head.status > 299) {
        return tl::unexpected(refusal(response->head, response->body, what));
    }
    const auto encoding = encoding_of(response->head);
    if (!encoding) return tl::unexpected(ApiError(encoding.error().with_context(what)));
    Object object(prototype.New());
    if (auto decoded = decode_into(*encoding, response->body, object.get()); !decoded) {
        return tl::unexpected(ApiError(decoded.error().with_context(what)));
    }
    return object;
}

ApiResult<Object> Client::get(const codec::KindInfo& kind, const std::string& namespace_name,
                              const std::string& name, std::stop_token stop) {
    HttpRequest request;
    request.target = resource_path(kind, namespace_name, name);
    return exchange(std::move(request), *kind.prototype, stop);
}

ApiResult<Object> Client::list(const codec::KindInfo& kind, const ListRequest& list,
                               std::stop_token stop) {
    HttpRequest request;
    request.target = resource_path(kind, list.selection.namespace_name, "");
    add_selection(&request.target, list.selection);
    if (list.limit > 0) add_parameter(&request.target, "limit", std::to_string(list.limit));
    add_parameter(&request.target, "continue", list.continue_token);
    if (list.continue_token.empty()) {
        add_parameter(&request.target, "resourceVersion", list.resource_version);
        add_parameter(&request.target, "resourceVersionMatch", list.resource_version_match);
    }
    return exchange(std::move(request), *kind.list_prototype, stop);
}

ApiResult<std::unique_ptr<WatchStream>> Client::watch(const codec::KindInfo& kind,
                                                      const WatchRequest& watch,
                                                      std::stop_token stop) {
    HttpRequest request;
    request.target = resource_path(kind, watch.selection.namespace_name, "") + "?watch=true";
    add_selection(&request.target, watch.selection);
    add_parameter(&request.target, "resourceVersion", watch.resource_version);
    if (watch.timeout_s > 0) {
        add_parameter(&request.target, "timeoutSeconds", std::to_string(watch.timeout_s));
    }
    if (watch.bookmarks) add_parameter(&request.target, "allowWatchBookmarks", "true");
    if (watch.send_initial_events) {
        add_parameter(&request.target, "sendInitialEvents", "true");
        add_parameter(&request.target, "resourceVersionMatch", "NotOlderThan");
    }
    const std::string what = "GET " + request.target;
    request.headers.emplace_back("Accept",
                                 fmt::format("{0};stream=watch,{0},{1}", kProtobufType, kJsonType));
    auto stream = http_->stream(request, stop);
    if (!stream) return tl::unexpected(ApiError(stream.error()));
    const HttpHead& head = (*stream)->head();
    if (head.status != 200) {
        std::string body(kWatchChunkBytes, '\0');
        const auto got = (*stream)->read(body.data(), body.size(), kResponseTimeoutMs);
        body.resize(got ? *got : 0);
        return tl::unexpected(refusal(head, body, what));
    }
    const auto encoding = encoding_of(head);
    if (!encoding) return tl::unexpected(ApiError(encoding.error().with_context(what)));
    return std::make_unique<WatchStream>(std::move(*stream), *encoding, kind);
}

ApiResult<Object> Client::create_object(const codec::KindInfo& kind,
                                        const google::protobuf::Message& object,
                                        std::stop_token stop) {
    HttpRequest request;
    request.method = "POST";
    request.target = resource_path(kind, codec::object_meta(object).namespace_(), "");
    request.headers.emplace_back("Content-Type", std::string(kProtobufType));
    request.body = codec::encode_protobuf(object, kind.gvk);
    return exchange(std::move(request), *kind.prototype, stop);
}

ApiResult<Object> Client::update(const codec::KindInfo& kind,
                                 const google::protobuf::Message& object,
                                 const std::string& subresource, std::stop_token stop) {
    const meta::ObjectMeta& metadata = codec::object_meta(object);
    HttpRequest request;
    request.method = "PUT";
    request.target = resource_path(kind, metadata.namespace_(), metadata.name(), subresource);
    request.headers.emplace_back("Content-Type", std::string(kProtobufType));
    request.body = codec::encode_protobuf(object, kind.gvk);
    return exchange(std::move(request), *kind.prototype, stop);
}

ApiResult<Object> Client::patch(const codec::KindInfo& kind, const std::string& namespace_name,
                                const std::string& name, const std::string& content_type,
                                std::string body, const std::string& subresource,
                                std::stop_token stop) {
    HttpRequest request;
    request.method = "PATCH";
    request.target = resource_path(kind, namespace_name, name, subresource);
    request.headers.emplace_back("Content-Type", content_type);
    request.body = std::move(body);
    return exchange(std::move(request), *kind.prototype, stop);
}

ApiResult<void> Client::send(HttpRequest request, const std::stop_token& stop) {
    request.headers.emplace_back("Accept", fmt::format("{},{}", kProtobufType, kJsonType));
    auto response = http_->request(request, stop);
    if (!response) return tl::unexpected(ApiError(response.error()));
    if (response->head.status < 200 || response->head.status > 299) {
        return tl::unexpected(refusal(response->head, response->body,
                                      fmt::format("{} {}", request.method, request.target)));
    }
    return {};
}

ApiResult<void> Client::remove(const codec::KindInfo& kind, const std::string& namespace_name,
                               const std::string& name, std::stop_token stop) {
    return remove(kind, namespace_name, name, DeleteRequest{}, std::move(stop));
}

ApiResult<void> Client::remove(const codec::KindInfo& kind, const std::string& namespace_name,
                               const std::string& name, const DeleteRequest& how,
                               std::stop_token stop) {
    meta::DeleteOptions options;
    if (how.grace_seconds) options.set_graceperiodseconds(*how.grace_seconds);
    if (!how.uid.empty()) options.mutable_preconditions()->set_uid(how.uid);
    if (!how.resource_version.empty()) {
        options.mutable_preconditions()->set_resourceversion(how.resource_version);
    }
    if (!how.propagation_policy.empty()) options.set_propagationpolicy(how.propagation_policy);
    HttpRequest request;
    request.method = "DELETE";
    request.target = resource_path(kind, namespace_name, name);
    if (options.ByteSizeLong() > 0) {
        request.headers.emplace_back("Content-Type", std::string(kProtobufType));
        request.body = codec::encode_protobuf(options, {"", "v1", "DeleteOptions"});
    }
    return send(std::move(request), stop);
}

namespace {

HttpRequest posted(const codec::KindInfo& kind, const std::string& namespace_name, const std::string& name,
                   const std::string& subresource, const codec::GroupVersionKind& body_kind,
                   const google::protobuf::Message& body) {
    HttpRequest request;
    request.method = "POST";
    request.target = resource_path(kind, namespace_name, name, subresource);
    request.headers.emplace_back("Content-Type", std::string(kProtobufType));
    request.body = codec::encode_protobuf(body, body_kind);
    return request;
}

}  // namespace

ApiResult<void> Client::post(const codec::KindInfo& kind, const std::string& namespace_name,
                             const std::string& name, const std::string& subresource,
                             const codec::GroupVersionKind& body_kind,
                             const google::protobuf::Message& body, std::stop_token stop) {
    return send(posted(kind, namespace_name, name, subresource, body_kind, body), stop);
}

ApiResult<Object> Client::post_for_answer(const codec::KindInfo& kind, const std::string& namespace_name,
                                          const std::string& name, const std::string& subresource,
                                          const codec::GroupVersionKind& body_kind,
                                          const google::protobuf::Message& body, std::stop_token stop) {
    return exchange(posted(kind, namespace_name, name, subresource, body_kind, body), body, stop);
}

}  // namespace sluice::client
