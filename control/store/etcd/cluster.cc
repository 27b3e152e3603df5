// Channels, keys and the first load; see cluster_private.h.
#include <fmt/core.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "control/store/etcd/cluster_private.h"

namespace sluice::store {

namespace {

constexpr std::size_t kMaxPemBytes = std::size_t{1} << 20;
// A page is halved when an answer would be longer than the longest message.
constexpr std::int64_t kLoadPage = 512;
constexpr int kMaxMessageBytes = 64 << 20;
// A dead connection is known after these two, as no packet of it is answered. etcd refuses clients
// that ask more often than every 5 s.
constexpr int kKeepaliveMs = 10'000;
constexpr int kKeepaliveTimeoutMs = 5'000;
constexpr int kMaxReconnectMs = 3'000;
constexpr int kFirstBackoffMs = 50;
// Also how long an attempt to connect may take.
constexpr int kMinReconnectMs = 3'000;
// A connection that came up just when etcd did has been seen to stay without an answer for 30 s and more, about once in
// 200 starts of both, though attempts to connect have a time.
constexpr std::chrono::seconds kYoungConnection{4};

Result<std::string> read_pem(const std::string& path, const char* option) {
    if (path.empty()) {
        return std::string();
    }
    std::ifstream in(path, std::ios::binary);
    std::string content((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    if (!in || content.empty() || content.size() > kMaxPemBytes) {
        return make_error(Code::kInvalidArgument,
                          "{}: the file {} cannot be read, is empty, or has more than {} bytes",
                          option, path, kMaxPemBytes);
    }
    return content;
}

struct Target {
    std::string address;  // HOST:PORT
    bool tls = false;
};

Result<Target> parse_endpoint(std::string_view url) {
    Target target;
    std::string_view rest = url;
    if (rest.starts_with("https://")) {
        target.tls = true;
        rest.remove_prefix(8);
    } else if (rest.starts_with("http://")) {
        rest.remove_prefix(7);
    } else {
        return make_error(Code::kInvalidArgument,
                          "etcd-servers: \"{}\" begins neither with http:// nor with https://",
                          url);
    }
    if (rest.ends_with('/')) {
        rest.remove_suffix(1);
    }
    const std::size_t colon = rest.rfind(':');
    const std::string port(colon == std::string_view::npos ? "" : rest.substr(colon + 1));
    const bool digits = !port.empty() && port.size() <= 5 &&
                        port.find_first_not_of("0123456789") == std::string::npos;
    if (colon == 0 || !digits || std::atoi(port.c_str()) < 1 || std::atoi(port.c_str()) > 65'535 ||
        rest.find_first_of("/@?# ,") != std::string_view::npos) {
        return make_error(Code::kInvalidArgument,
                          "etcd-servers: \"{}\" is not of the form http(s)://HOST:PORT", url);
    }
    target.address = rest;
    return target;
}

std::shared_ptr<grpc::Channel> make_channel(
    const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
    arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kMinReconnectMs);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kFirstBackoffMs);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMaxReconnectMs);
    // A write that etcd may have seen is never sent again by the library.
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(address, credentials, arguments);
}

void set_deadline(grpc::ClientContext& context, SystemTime deadline) {
    context.set_deadline(deadline);
}

}  // namespace

std::string prefix_end(std::string prefix) {
    while (!prefix.empty()) {
        const auto last = static_cast<unsigned char>(prefix.back());
        if (last < 0xff) {
            prefix.back() = static_cast<char>(last + 1);
            return prefix;
        }
        prefix.pop_back();
    }
    return std::string(1, '\0');  // etcd's word for "to the last key"
}

Error to_error(const grpc::Status& status) {
    const std::string& said = status.error_message();
    const auto error = [&said](Code code) {
        if (said.starts_with(kEtcdSays)) {
            return make_error(code, "{}", said);
        }
        // What the connection says, in the form in which clients know it from kube-apiserver.
        return make_error(code, "{}{} desc = {}", kConnectionSays,
                          code == Code::kUnavailable ? "Unavailable" : "Unknown",
                          said.empty() ? "transport is closing" : said);
    };
    switch (status.error_code()) {
        case grpc::StatusCode::DEADLINE_EXCEEDED:
        case grpc::StatusCode::CANCELLED:
            return make_error(Code::kUnavailable, "etcdserver: request timed out");
        case grpc::StatusCode::INVALID_ARGUMENT: return error(Code::kInvalidArgument);
        case grpc::StatusCode::OUT_OF_RANGE: return error(Code::kOutOfRange);
        case grpc::StatusCode::RESOURCE_EXHAUSTED: return error(Code::kResourceExhausted);
        case grpc::StatusCode::FAILED_PRECONDITION: return error(Code::kFailedPrecondition);
        case grpc::StatusCode::PERMISSION_DENIED:
        case grpc::StatusCode::UNAUTHENTICATED:
        case grpc::StatusCode::UNIMPLEMENTED: return error(Code::kInternal);
        default: return error(Code::kUnavailable);
    }
}

std::optional<std::string> KeySpace::to_remote(std::string_view key) const {
    if (!key.starts_with(local_)) {
        return std::nullopt;
    }
    return remote_ + std::string(key.substr(local_.size()));
}

std::optional<std::string> KeySpace::to_local(std::string_view key) const {
    if (!key.starts_with(remote_) || key.size() == remote_.size()) {
        return std::nullopt;
    }
    return local_ + std::string(key.substr(remote_.size()));
}

Result<std::unique_ptr<Cluster>> Cluster::connect(const EtcdOptions& options) {
    if (options.endpoints.empty() || options.endpoints.size() > kMaxEtcdEndpoints) {
        return make_error(Code::kInvalidArgument, "etcd-servers: 1 to {} endpoints are needed",
                          kMaxEtcdEndpoints);
    }
    if (options.cert_file.empty() != options.key_file.empty()) {
        return make_error(Code::kInvalidArgument,
                          "etcd-certfile and etcd-keyfile are given together or not at all");
    }
    if (options.remote_prefix.empty()) {
        return make_error(Code::kInvalidArgument, "etcd-prefix: it must not be empty");
    }
    grpc::SslCredentialsOptions tls;
    SLUICE_TRY_ASSIGN(tls.pem_root_certs, read_pem(options.ca_file, "etcd-cafile"));
    SLUICE_TRY_ASSIGN(tls.pem_cert_chain, read_pem(options.cert_file, "etcd-certfile"));
    SLUICE_TRY_ASSIGN(tls.pem_private_key, read_pem(options.key_file, "etcd-keyfile"));
    auto cluster = std::make_unique<Cluster>();
    for (const std::string& url : options.endpoints) {
        SLUICE_TRY_ASSIGN(const Target target, parse_endpoint(url));
        Member& member = cluster->members_.emplace_back();
        member.url = url;
        member.address = target.address;
        member.credentials = target.tls ? grpc::SslCredentials(tls) : grpc::InsecureChannelCredentials();
        member.connect();
    }
    return cluster;
}

void Member::connect() {
    const auto requests = make_channel(address, credentials);
    kv = pb::KV::NewStub(requests);
    watch = pb::Watch::NewStub(make_channel(address, credentials));
    maintenance = pb::Maintenance::NewStub(requests);
    connected = std::chrono::steady_clock::now();
}

void Cluster::rotate() {
    Member& member = current();
    if (std::chrono::steady_clock::now() - member.connected >= kYoungConnection) member.connect();
    current_ = (current_ + 1) % members_.size();
}

Result<Revision> Cluster::revision(SystemTime deadline) {
    grpc::ClientContext context;
    set_deadline(context, deadline);
    pb::RangeRequest request;
    request.set_key(std::string(1, '\0'));
    request.set_count_only(true);
    pb::RangeResponse response;
    const grpc::Status status = current().kv->Range(&context, request, &response);
    if (!status.ok()) {
        return to_error(status).with_context(current().url);
    }
    return static_cast<Revision>(response.header().revision());
}

Result<Picture> Cluster::load(const KeySpace& space, Revision at, SystemTime deadline) {
    Picture picture;
    picture.revision = at;
    pb::RangeRequest request;
    request.set_key(space.remote());
    request.set_range_end(prefix_end(space.remote()));
    std::int64_t page = kLoadPage;
    while (true) {
        request.set_limit(page);
        request.set_revision(static_cast<std::int64_t>(picture.revision));
        grpc::ClientContext context;
        set_deadline(context, deadline);
        pb::RangeResponse response;
        const grpc::Status status = current().kv->Range(&context, request, &response);
        if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED && page > 1) {
            page /= 2;
            continue;
        }
        if (!status.ok()) {
            return to_error(status).with_context(current().url);
        }
        if (picture.revision == 0) {
            picture.revision = static_cast<Revision>(response.header().revision());
        }
        for (mvccpb::KeyValue& kv : *response.mutable_kvs()) {
            auto key = space.to_local(kv.key());
            request.set_key(kv.key() + '\0');
            if (key) {
                picture.items.push_back(
                    {std::move(*key),
                     std::make_shared<const std::string>(std::move(*kv.mutable_value())),
                     static_cast<Revision>(kv.create_revision()),
                     static_cast<Revision>(kv.mod_revision()), false});
            }
        }
        if (!response.more() || response.kvs().empty()) {
            return picture;
        }
    }
}

}  // namespace sluice::store
