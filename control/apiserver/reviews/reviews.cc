#include "control/apiserver/reviews/reviews.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <array>
#include <ctime>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "api/codec/scheme.h"
#include "api/kubernetes/authentication/v1/authentication.pb.h"
#include "api/kubernetes/authorization/v1/authorization.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/authorization/authorizer.h"
#include "control/apiserver/registry/rest/core.h"
#include "control/apiserver/registry/rest/posting.h"
#include "control/apiserver/registry/rest/unstored_kind.h"
#include "control/apiserver/reviews/access_private.h"

namespace sluice::reviews {
namespace {

namespace authenticationv1 = ::k8s::io::api::authentication::v1;
namespace authorizationv1 = ::k8s::io::api::authorization::v1;

using authorization::Authorizer;
using registry::Answer;
using registry::FieldErrors;
using registry::refuse;

enum class Review : std::uint8_t { kSelf, kSelfAccess, kAccess, kLocalAccess, kSelfRules };

struct Row {
    Review review;
    codec::KindInfo kind;
};

template <class Message>
Row row(Review review, const char* group, const char* resource, const char* singular, bool namespaced = false) {
    return {review, registry::unstored_kind<Message>(group, "v1", resource, singular, namespaced)};
}

const std::vector<Row>& rows() {
    static const std::vector<Row> all = {
        row<authenticationv1::SelfSubjectReview>(Review::kSelf, "authentication.k8s.io",
                                                 "selfsubjectreviews", "selfsubjectreview"),
        row<authorizationv1::LocalSubjectAccessReview>(Review::kLocalAccess, "authorization.k8s.io",
                                                       "localsubjectaccessreviews",
                                                       "localsubjectaccessreview", true),
        row<authorizationv1::SelfSubjectAccessReview>(Review::kSelfAccess, "authorization.k8s.io",
                                                      "selfsubjectaccessreviews",
                                                      "selfsubjectaccessreview"),
        row<authorizationv1::SelfSubjectRulesReview>(Review::kSelfRules, "authorization.k8s.io",
                                                     "selfsubjectrulesreviews",
                                                     "selfsubjectrulesreview"),
        row<authorizationv1::SubjectAccessReview>(Review::kAccess, "authorization.k8s.io",
                                                  "subjectaccessreviews", "subjectaccessreview"),
    };
    return all;
}

struct Place {
    const Row* row = nullptr;
    std::string name_space;
};

// "/apis/GROUP/v1/RESOURCE" or "/apis/GROUP/v1/namespaces/NAMESPACE/RESOURCE".
std::optional<Place> place_of(std::string_view path) {
    const auto parsed = registry::parse_resource_path(path);
    if (!parsed || parsed->version != "v1" || parsed->legacy_watch) return std::nullopt;
    for (const Row& row : rows()) {
        if (row.kind.gvk.group == parsed->group && row.kind.resource == parsed->resource) {
            if (!parsed->name.empty() || row.kind.namespaced == parsed->name_space.empty()) {
                return std::nullopt;
            }
            return Place{&row, parsed->name_space};
        }
    }
    return std::nullopt;
}

// Metadata says nothing about a question.
void check_metadata(const codec::metav1::ObjectMeta& meta, bool name_space_allowed, FieldErrors* errors) {
    codec::metav1::ObjectMeta rest = meta;
    rest.clear_managedfields();
    rest.clear_creationtimestamp();
    if (name_space_allowed) rest.clear_namespace_();
    if (rest.ByteSizeLong() == 0) return;
    errors->invalid("metadata", registry::BadValue::verbatim("v1.ObjectMeta{...}"), "must be empty");
}

struct Question {
    const Authorizer& authorizer;
    const http::Identity& user;
    const Place& place;
    registry::PostedAdmission& admission;
};

Answer<void> answer(const Question& question, authenticationv1::SelfSubjectReview* review) {
    if (auto ok = question.admission.check(review); !ok) return ok;
    auto* info = review->mutable_status()->mutable_userinfo();
    info->set_username(question.user.user);
    if (!question.user.uid.empty()) info->set_uid(question.user.uid);
    for (const auto& group : question.user.groups) info->add_groups(group);
    for (const auto& [key, values] : question.user.extra) {
        auto& extra = (*info->mutable_extra())[key];
        for (const auto& value : values) extra.add_items(value);
    }
    review->mutable_metadata()->mutable_creationtimestamp()->set_seconds(std::time(nullptr));
    return {};
}

Answer<void> checked(const codec::KindInfo& kind, const FieldErrors& errors) {
    if (errors.empty()) return {};
    return refuse(registry::invalid(kind, "", errors));
}

Answer<void> answer(const Question& question, authorizationv1::SelfSubjectAccessReview* review) {
    FieldErrors errors;
    check_attributes(review->spec(), &errors);
    check_metadata(review->metadata(), false, &errors);
    if (auto ok = checked(question.place.row->kind, errors); !ok) return ok;
    if (auto ok = question.admission.check(review); !ok) return ok;
    decide(question.authorizer, attributes_of(review->spec(), question.user), review->mutable_status());
    return {};
}

http::Identity subject_of(const authorizationv1::SubjectAccessReviewSpec& spec) {
    http::Identity user;
    user.user = spec.user();
    user.uid = spec.uid();
    user.groups.assign(spec.groups().begin(), spec.groups().end());
    for (const auto& [key, value] : spec.extra()) {
        user.extra.emplace_back(key, std::vector<std::string>(value.items().begin(), value.items().end()));
    }
    return user;
}

void check_subject(const authorizationv1::SubjectAccessReviewSpec& spec, FieldErrors* errors) {
    if (!spec.user().empty() || spec.groups_size() > 0) return;
    errors->invalid("spec.user", "", "at least one of user or group must be specified");
}

Answer<void> answer(const Question& question, authorizationv1::SubjectAccessReview* review) {
    FieldErrors errors;
    check_attributes(review->spec(), &errors);
    check_subject(review->spec(), &errors);
    check_metadata(review->metadata(), false, &errors);
    if (auto ok = checked(question.place.row->kind, errors); !ok) return ok;
    if (auto ok = question.admission.check(review); !ok) return ok;
    decide(question.authorizer, attributes_of(review->spec(), subject_of(review->spec())),
           review->mutable_status());
    return {};
}

Answer<void> answer(const Question& question, authorizationv1::LocalSubjectAccessReview* review) {
    const std::string& name_space = question.place.name_space;
    auto* meta = review->mutable_metadata();
    if (meta->namespace_().empty()) meta->set_namespace_(name_space);
    if (meta->namespace_() != name_space) {
        return refuse(registry::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"));
    }
    FieldErrors errors;
    check_attributes(review->spec(), &errors);
    check_subject(review->spec(), &errors);
    check_metadata(*meta, true, &errors);
    const auto& attributes = review->spec().resourceattributes();
    if (review->spec().has_resourceattributes() && attributes.namespace_() != name_space) {
        errors.invalid("spec.resourceAttributes.namespace", attributes.namespace_(),
                       "must match metadata.namespace");
    }
    if (review->spec().has_nonresourceattributes()) {
        errors.invalid("spec.nonResourceAttributes",
                       registry::BadValue::verbatim("v1.NonResourceAttributes{...}"),
                       "disallowed on this kind of request");
    }
    if (auto ok = checked(question.place.row->kind, errors); !ok) return ok;
    if (auto ok = question.admission.check(review); !ok) return ok;
    decide(question.authorizer, attributes_of(review->spec(), subject_of(review->spec())),
           review->mutable_status());
    return {};
}

Answer<void> answer(const Question& question, authorizationv1::SelfSubjectRulesReview* review) {
    if (review->spec().namespace_().empty()) {
        return refuse(registry::bad_request("no namespace on request"));
    }
    if (auto ok = question.admission.check(review); !ok) return ok;
    tell_rules(question.authorizer.permitted(question.user, review->spec().namespace_()),
               review->mutable_status());
    return {};
}

template <class Message>
Answer<void> answer_as(const Question& question, google::protobuf::Message* message) {
    return answer(question, static_cast<Message*>(message));
}

Answer<void> answer_any(const Question& question, google::protobuf::Message* message) {
    switch (question.place.row->review) {
        case Review::kSelf: return answer_as<authenticationv1::SelfSubjectReview>(question, message);
        case Review::kSelfAccess:
            return answer_as<authorizationv1::SelfSubjectAccessReview>(question, message);
        case Review::kAccess: return answer_as<authorizationv1::SubjectAccessReview>(question, message);
        case Review::kLocalAccess:
            return answer_as<authorizationv1::LocalSubjectAccessReview>(question, message);
        case Review::kSelfRules:
            return answer_as<authorizationv1::SelfSubjectRulesReview>(question, message);
    }
    return {};
}

}  // namespace

bool handles(std::string_view path) { return path.starts_with("/apis/auth") && place_of(path).has_value(); }

void handle(const Authorizer& authorizer, registry::Api* api, std::shared_ptr<const http::Request> request,
            std::shared_ptr<http::Responder> responder) {
    const Place place = *place_of(request->path);
    registry::Posted posted;
    posted.kind = &place.row->kind;
    posted.name_space = place.name_space;
    auto answer_body = [&authorizer, request, place](registry::PostedAdmission& admission,
                                                     google::protobuf::Message* body) {
        return answer_any({authorizer, request->identity, place, admission}, body);
    };
    registry::serve_posted(api, std::move(request), std::move(responder), std::move(posted), std::move(answer_body));
}

}  // namespace sluice::reviews
