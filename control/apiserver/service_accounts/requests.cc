#include "control/apiserver/service_accounts/requests.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <ctime>
#include <memory>
#include <utility>

#include "api/base/log.h"
#include "api/kubernetes/authentication/v1/authentication.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/authentication/impersonation.h"
#include "control/apiserver/authorization/node_authorizer.h"
#include "control/apiserver/registry/rest/core.h"
#include "control/apiserver/registry/rest/posting.h"
#include "control/apiserver/registry/rest/unstored_kind.h"
#include "control/apiserver/registry/validation/field_errors.h"

namespace sluice::service_accounts {
namespace {

namespace authenticationv1 = ::k8s::io::api::authentication::v1;
namespace corev1 = ::k8s::io::api::core::v1;

using google::protobuf::Message;
using registry::Answer;
using registry::FieldErrors;
using registry::go_quote;
using registry::refuse;

constexpr std::string_view kComponent = "service-accounts";

constexpr const char* kGroup = "authentication.k8s.io";

const codec::KindInfo& request_kind() {
    static const codec::KindInfo kind = registry::unstored_kind<authenticationv1::TokenRequest>(
        kGroup, "v1", "tokenrequests", "tokenrequest", true);
    return kind;
}
const codec::KindInfo& review_kind() {
    static const codec::KindInfo kind = registry::unstored_kind<authenticationv1::TokenReview>(
        kGroup, "v1", "tokenreviews", "tokenreview", false);
    return kind;
}
const codec::KindInfo& core_kind(const char* resource) { return *codec::find_resource("", "v1", resource); }

std::optional<registry::ResourcePath> request_path(std::string_view path) {
    // Nearly every request of the server is looked at here.
    if (!path.substr(0, path.find_last_not_of('/') + 1).ends_with("/token")) return std::nullopt;
    auto parsed = registry::parse_resource_path(path);
    if (!parsed || !parsed->group.empty() || parsed->version != "v1" || parsed->legacy_watch ||
        parsed->resource != "serviceaccounts" || parsed->subresource != "token" || parsed->name_space.empty()) {
        return std::nullopt;
    }
    return parsed;
}

bool is_review(std::string_view path) { return path == "/apis/authentication.k8s.io/v1/tokenreviews"; }

template <class Type>
Answer<std::shared_ptr<const Type>> read_as(const Reader& read, const char* resource, const std::string& name_space,
                                            const std::string& name) {
    auto found = read(core_kind(resource), name_space, name);
    if (found) return std::static_pointer_cast<const Type>(*found);
    if (found.error().code == Code::kNotFound) return refuse(registry::not_found(core_kind(resource), name));
    return refuse(registry::from_error(found.error()));
}

std::string group_of(const std::string& api_version) {
    const std::size_t slash = api_version.find('/');
    return slash == std::string::npos ? std::string() : api_version.substr(0, slash);
}

struct Asked {
    const Reader& read;
    const http::Identity& user;
    std::string name_space;
    std::string name;
};

// A kubelet asks for tokens of the Pods on its own node, bound to them.
Answer<void> check_node(const Asked& asked, const authenticationv1::TokenRequest& request) {
    const auto node = authorization::node_of(asked.user);
    if (!node) return {};
    const auto no = [&](std::string why) {
        return refuse(registry::forbidden(core_kind("serviceaccounts"), asked.name, why));
    };
    const auto& bound = request.spec().boundobjectref();
    if (bound.apiversion() != "v1" || bound.kind() != "Pod" || bound.name().empty()) {
        return no("node requested token not bound to a pod");
    }
    if (bound.uid().empty()) return no("node requested token with a pod binding without a uid");
    const auto pod = read_as<corev1::Pod>(asked.read, "pods", asked.name_space, bound.name());
    if (!pod) return refuse(pod.error());
    if ((*pod)->metadata().uid() != bound.uid()) {
        return no(fmt::format("the UID in the bound object reference ({}) does not match the UID in record. The "
                              "object might have been deleted and then recreated",
                              bound.uid()));
    }
    if ((*pod)->spec().nodename() != *node) {
        return no("node requested token bound to a pod scheduled on a different node");
    }
    return {};
}

Answer<void> bind_pod(const Asked& asked, const std::string& name, Claims* claims, std::string* uid) {
    const auto found = read_as<corev1::Pod>(asked.read, "pods", asked.name_space, name);
    if (!found) return refuse(found.error());
    const corev1::Pod& pod = **found;
    if (pod.spec().serviceaccountname() != asked.name) {
        return refuse(registry::bad_request(fmt::format(
            "cannot bind token for serviceaccount {} to pod running with different serviceaccount name.",
            go_quote(asked.name))));
    }
    *uid = pod.metadata().uid();
    claims->pod = {name, *uid};
    if (pod.spec().nodename().empty()) return {};
    // A node that is not there yet is known by its name alone.
    const auto node = asked.read(core_kind("nodes"), "", pod.spec().nodename());
    claims->node = {pod.spec().nodename(), node ? codec::object_meta(**node).uid() : std::string()};
    return {};
}

Answer<void> bind(const Asked& asked, const authenticationv1::BoundObjectReference& bound, Claims* claims) {
    const std::string group = group_of(bound.apiversion());
    const std::string version = bound.apiversion().substr(group.empty() ? 0 : group.size() + 1);
    std::string uid;
    if (group.empty() && bound.kind() == "Pod") {
        if (auto ok = bind_pod(asked, bound.name(), claims, &uid); !ok) return ok;
    } else if (group.empty() && (bound.kind() == "Secret" || bound.kind() == "Node")) {
        const bool node = bound.kind() == "Node";
        const auto found = read_as<Message>(asked.read, node ? "nodes" : "secrets",
                                            node ? std::string() : asked.name_space, bound.name());
        if (!found) return refuse(found.error());
        uid = codec::object_meta(**found).uid();
        (node ? claims->node : claims->secret) = {bound.name(), uid};
    } else {
        return refuse(registry::bad_request(fmt::format("cannot bind token to object of type {}/{}, Kind={}", group,
                                                        version, bound.kind())));
    }
    if (!bound.uid().empty() && bound.uid() != uid) {
        codec::KindInfo kind = core_kind("pods");
        kind.resource = bound.kind();
        return refuse(registry::conflict(
            kind, bound.name(),
            fmt::format("the UID in the bound object reference ({}) does not match the UID in record. The object "
                        "might have been deleted and then recreated",
                        bound.uid())));
    }
    return {};
}

Answer<void> check_names(const Asked& asked, const codec::metav1::ObjectMeta& meta) {
    FieldErrors errors;
    if (!meta.name().empty() && meta.name() != asked.name) {
        errors.invalid("metadata.name", meta.name(), "must match the service account name if specified");
    } else if (!meta.namespace_().empty() && meta.namespace_() != asked.name_space) {
        errors.invalid("metadata.namespace", meta.namespace_(),
                       "must match the service account namespace if specified");
    }
    if (errors.empty()) return {};
    return refuse(registry::invalid(request_kind(), asked.name, errors));
}

Answer<void> issue(const Authority& authority, const Asked& asked, registry::PostedAdmission& admission,
                   authenticationv1::TokenRequest* request) {
    auto* meta = request->mutable_metadata();
    auto* spec = request->mutable_spec();
    if (auto ok = check_names(asked, *meta); !ok) return ok;
    const auto account = read_as<Message>(asked.read, "serviceaccounts", asked.name_space, asked.name);
    if (!account) return refuse(account.error());
    if (spec->audiences().empty()) {
        for (const std::string& audience : authority.options().audiences) spec->add_audiences(audience);
    }
    meta->set_name(asked.name);
    meta->set_namespace_(asked.name_space);
    const std::int64_t now_s = std::time(nullptr);
    meta->mutable_creationtimestamp()->set_seconds(now_s);
    request->clear_status();
    if (!spec->has_expirationseconds()) spec->set_expirationseconds(kDefaultTokenSeconds);
    FieldErrors errors;
    if (spec->expirationseconds() < kMinTokenSeconds) {
        errors.invalid("spec.expirationSeconds", spec->expirationseconds(),
                       "may not specify a duration less than 10 minutes");
    }
    if (spec->expirationseconds() > kMaxTokenSeconds) {
        errors.invalid("spec.expirationSeconds", spec->expirationseconds(),
                       "may not specify a duration larger than 2^32 seconds");
    }
    if (spec->audiences_size() > static_cast<int>(kMaxAudiences)) {
        errors.too_many("spec.audiences", static_cast<std::uint64_t>(spec->audiences_size()), kMaxAudiences);
    }
    if (!errors.empty()) return refuse(registry::invalid(request_kind(), "", errors));
    if (auto ok = admission.check(request); !ok) return ok;
    if (auto ok = check_node(asked, *request); !ok) return ok;
    Claims claims;
    claims.name_space = asked.name_space;
    claims.account = {asked.name, codec::object_meta(**account).uid()};
    claims.audiences.assign(spec->audiences().begin(), spec->audiences().end());
    if (spec->has_boundobjectref()) {
        if (auto ok = bind(asked, spec->boundobjectref(), &claims); !ok) return ok;
    }
    const std::int64_t longest = authority.options().max_token_s;
    if (longest > 0 && spec->expirationseconds() > longest) spec->set_expirationseconds(longest);
    auto token = authority.issue(std::move(claims), now_s, spec->expirationseconds());
    if (!token) return refuse(registry::from_error(token.error()));
    if (token->size() > kMaxTokenBytes) {
        return refuse(registry::bad_request("the token would be larger than this server accepts"));
    }
    request->mutable_status()->set_token(std::move(*token));
    request->mutable_status()->mutable_expirationtimestamp()->set_seconds(now_s + spec->expirationseconds());
    return {};
}

void tell(const http::Identity& identity, authenticationv1::UserInfo* out) {
    out->set_username(identity.user);
    if (!identity.uid.empty()) out->set_uid(identity.uid);
    for (const std::string& group : identity.groups) out->add_groups(group);
    for (const auto& [key, values] : identity.extra) {
        auto& extra = (*out->mutable_extra())[key];
        for (const std::string& value : values) extra.add_items(value);
    }
}

Answer<void> review(const Authority& authority, const OtherTokens& others, registry::PostedAdmission& admission,
                    authenticationv1::TokenReview* review) {
    if (!review->metadata().namespace_().empty()) {
        return refuse(registry::bad_request(fmt::format("namespace is not allowed on this type: {}",
                                                        review->metadata().namespace_())));
    }
    const auto& spec = review->spec();
    if (spec.token().empty()) {
        return refuse(registry::bad_request("token is required for TokenReview in authentication"));
    }
    if (auto ok = admission.check(review); !ok) return ok;
    review->clear_status();
    auto* status = review->mutable_status();
    const std::vector<std::string> audiences(spec.audiences().begin(), spec.audiences().end());
    Known known;
    if (authority.is_ours(spec.token())) {
        auto found = authority.authenticate(spec.token(), audiences, std::time(nullptr));
        if (!found) {
            status->set_error("[invalid bearer token, " + found.error().message + "]");
            return {};
        }
        known = std::move(*found);
    } else {
        // Tokens of other kinds are for this API server.
        auto found = others(spec.token());
        const auto& own = authority.options().audiences;
        for (const std::string& one : audiences.empty() ? own : audiences) {
            if (std::find(own.begin(), own.end(), one) != own.end()) known.audiences.push_back(one);
        }
        if (!found || known.audiences.empty()) {
            status->set_error("invalid bearer token");
            return {};
        }
        known.identity = std::move(*found);
    }
    authentication::settle_groups(&known.identity);
    status->set_authenticated(true);
    tell(known.identity, status->mutable_user());
    for (const std::string& one : known.audiences) status->add_audiences(one);
    return {};
}

}  // namespace

std::optional<http::Identity> TokenRequests::identify(std::string_view token) const {
    if (!authority_.is_ours(token)) return others_(token);
    auto known = authority_.authenticate(token, {}, std::time(nullptr));
    if (known) return std::move(known->identity);
    log::info(kComponent, "a token is refused: {}", known.error().message);
    return std::nullopt;
}

bool TokenRequests::handles(const http::Request& request) const {
    return is_review(request.path) || request_path(request.path).has_value();
}

void TokenRequests::handle(registry::Api* api, std::shared_ptr<const http::Request> request,
                           std::shared_ptr<http::Responder> responder) const {
    const auto path = request_path(request->path);
    registry::Posted posted;
    posted.kind = path ? &request_kind() : &review_kind();
    if (path) {
        posted.resource = &core_kind("serviceaccounts");
        posted.subresource = path->subresource;
        posted.name_space = path->name_space;
        posted.name = path->name;
    }
    auto answer = [this, request, posted](registry::PostedAdmission& admission, Message* body) -> Answer<void> {
        if (posted.resource == nullptr) {
            return review(authority_, others_, admission, static_cast<authenticationv1::TokenReview*>(body));
        }
        const Reader* read = authority_.reader();
        if (read == nullptr) return refuse(registry::unavailable("the server is starting"));
        const Asked asked{*read, request->identity, posted.name_space, posted.name};
        return issue(authority_, asked, admission, static_cast<authenticationv1::TokenRequest*>(body));
    };
    registry::serve_posted(api, std::move(request), std::move(responder), std::move(posted), std::move(answer));
}

}  // namespace sluice::service_accounts
