#include "control/apiserver/authorization/policy/policy.h"

#include <algorithm>
#include <array>
#include <map>
#include <string>

#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/rbac/v1/rbac.pb.h"

namespace sluice::authorization {
namespace {

namespace rbacv1 = ::k8s::io::api::rbac::v1;
namespace metav1 = ::k8s::io::apimachinery::pkg::apis::meta::v1;

constexpr char kGroup[] = "rbac.authorization.k8s.io";
constexpr char kControllerPrefix[] = "system:controller:";

std::vector<std::string> split(std::string_view text, char separator) {
    std::vector<std::string> out;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(separator), text.size());
        if (end > 0) out.emplace_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return out;
}

// "create,read" as single verbs.
std::vector<std::string> verbs_of(std::string_view list) {
    std::vector<std::string> out;
    for (const std::string& verb : split(list, ',')) {
        if (verb == "read") {
            for (const char* each : {"get", "list", "watch"}) out.emplace_back(each);
        } else if (verb == "write") {
            for (const char* each : {"create", "delete", "deletecollection", "patch", "update"}) {
                out.emplace_back(each);
            }
        } else {
            out.push_back(verb);
        }
    }
    return out;
}

void mark(metav1::ObjectMeta* meta) {
    (*meta->mutable_labels())[kBootstrappingLabel] = kBootstrappingValue;
    (*meta->mutable_annotations())[kAutoUpdateAnnotation] = "true";
}

// The text as it is read, line by line.
class Reader {
public:
    Result<std::vector<PolicyObject>> read(std::string_view text);

private:
    Result<void> read_line(const std::vector<std::string>& words);
    Result<void> open_cluster_role(const std::vector<std::string>& words);
    Result<void> add_rule(const std::vector<std::string>& words);
    template <class Binding>
    Result<void> add_binding(const std::vector<std::string>& words, std::size_t at, const char* role_kind,
                             std::string_view name_space);
    void close();

    std::shared_ptr<rbacv1::ClusterRole> cluster_role_;
    std::shared_ptr<rbacv1::Role> role_;
    std::vector<PolicyObject> out_;
};

void Reader::close() {
    if (cluster_role_ != nullptr) out_.push_back(std::move(cluster_role_));
    if (role_ != nullptr) out_.push_back(std::move(role_));
    cluster_role_.reset();
    role_.reset();
}

Result<void> Reader::open_cluster_role(const std::vector<std::string>& words) {
    cluster_role_ = std::make_shared<rbacv1::ClusterRole>();
    auto* meta = cluster_role_->mutable_metadata();
    meta->set_name(words[1]);
    mark(meta);
    for (std::size_t i = 2; i < words.size(); ++i) {
        const std::size_t equals = words[i].find('=');
        const std::string key = words[i].substr(0, equals);
        const std::string value = equals == std::string::npos ? std::string() : words[i].substr(equals + 1);
        if (value.empty()) return make_error(Code::kInvalidArgument, "\"{}\" has no value", words[i]);
        if (key == "label") {
            (*meta->mutable_labels())[value] = "true";
        } else if (key == "aggregate") {
            auto* selector = cluster_role_->mutable_aggregationrule()->add_clusterroleselectors();
            (*selector->mutable_matchlabels())[value] = "true";
        } else {
            return make_error(Code::kInvalidArgument, "\"{}\" is neither label nor aggregate", words[i]);
        }
    }
    return {};
}

Result<void> Reader::add_rule(const std::vector<std::string>& words) {
    rbacv1::PolicyRule* rule = nullptr;
    if (cluster_role_ != nullptr) rule = cluster_role_->add_rules();
    if (role_ != nullptr) rule = role_->add_rules();
    if (rule == nullptr) return make_error(Code::kInvalidArgument, "a rule outside of a role");
    if (words.size() < 3 || words.size() > 4) {
        return make_error(Code::kInvalidArgument, "a rule has 3 or 4 parts, not {}", words.size());
    }
    const auto fill = [](std::vector<std::string> values, auto* field) {
        std::sort(values.begin(), values.end());
        for (std::string& value : values) *field->Add() = std::move(value);
    };
    fill(verbs_of(words[0]), rule->mutable_verbs());
    if (words[1] == "urls") {
        fill(split(words[2], ','), rule->mutable_nonresourceurls());
        return {};
    }
    std::vector<std::string> groups = split(words[1], ',');
    std::replace(groups.begin(), groups.end(), std::string("core"), std::string());
    fill(std::move(groups), rule->mutable_apigroups());
    fill(split(words[2], ','), rule->mutable_resources());
    if (words.size() == 4) fill(split(words[3], ','), rule->mutable_resourcenames());
    return {};
}

// words[at]: the role; before it the name, after it the subjects.
template <class Binding>
Result<void> Reader::add_binding(const std::vector<std::string>& words, std::size_t at, const char* role_kind,
                                 std::string_view name_space) {
    if (words.size() <= at) return make_error(Code::kInvalidArgument, "a binding without a role");
    auto binding = std::make_shared<Binding>();
    auto* meta = binding->mutable_metadata();
    meta->set_name(words[at - 1]);
    if (!name_space.empty()) meta->set_namespace_(std::string(name_space));
    mark(meta);
    binding->mutable_roleref()->set_apigroup(kGroup);
    binding->mutable_roleref()->set_kind(role_kind);
    binding->mutable_roleref()->set_name(words[at]);
    for (std::size_t i = at + 1; i < words.size(); ++i) {
        const std::size_t equals = words[i].find('=');
        if (equals == std::string::npos) return make_error(Code::kInvalidArgument, "subject \"{}\"", words[i]);
        const std::string kind = words[i].substr(0, equals);
        const std::string name = words[i].substr(equals + 1);
        auto* subject = binding->add_subjects();
        subject->set_kind(kind);
        if (kind == "ServiceAccount") {
            const std::size_t slash = name.find('/');
            if (slash == std::string::npos) {
                return make_error(Code::kInvalidArgument, "\"{}\" names no namespace", words[i]);
            }
            subject->set_namespace_(name.substr(0, slash));
            subject->set_name(name.substr(slash + 1));
        } else if (kind == "User" || kind == "Group") {
            subject->set_apigroup(kGroup);
            subject->set_name(name);
        } else {
            return make_error(Code::kInvalidArgument, "subject \"{}\"", words[i]);
        }
    }
    out_.push_back(std::move(binding));
    return {};
}

Result<void> Reader::read_line(const std::vector<std::string>& words) {
    if (words.size() < 2) return make_error(Code::kInvalidArgument, "\"{}\" alone", words[0]);
    const std::string& first = words[0];
    if (first == "ClusterRole") {
        close();
        return open_cluster_role(words);
    }
    if (first == "Controller") {
        close();
        SLUICE_TRY(open_cluster_role({first, kControllerPrefix + words[1]}));
        const auto role = cluster_role_;
        return add_binding<rbacv1::ClusterRoleBinding>(
            {kControllerPrefix + words[1], kControllerPrefix + words[1],
             "ServiceAccount=kube-system/" + words[1]},
            1, "ClusterRole", "");
    }
    if (first == "Role") {
        close();
        if (words.size() != 3) return make_error(Code::kInvalidArgument, "a Role has a namespace and a name");
        role_ = std::make_shared<rbacv1::Role>();
        role_->mutable_metadata()->set_namespace_(words[1]);
        role_->mutable_metadata()->set_name(words[2]);
        mark(role_->mutable_metadata());
        return {};
    }
    if (first == "ClusterRoleBinding") {
        close();
        return add_binding<rbacv1::ClusterRoleBinding>(words, 2, "ClusterRole", "");
    }
    if (first == "RoleBinding") {
        close();
        return add_binding<rbacv1::RoleBinding>(words, 3, "Role", words[1]);
    }
    return add_rule(words);
}

Result<std::vector<PolicyObject>> Reader::read(std::string_view text) {
    std::size_t number = 0;
    std::string line;
    while (!text.empty()) {
        ++number;
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view part = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (!line.empty()) part.remove_prefix(std::min(part.find_first_not_of(' '), part.size()));
        line += part;
        if (line.ends_with('\\')) {
            line.pop_back();
            continue;
        }
        const auto words = split(line, ' ');
        line.clear();
        if (words.empty()) continue;
        if (auto ok = read_line(words); !ok) {
            return make_error(Code::kInvalidArgument, "policy, line {}: {}", number, ok.error().message);
        }
    }
    close();
    return std::move(out_);
}

}  // namespace

Result<std::vector<PolicyObject>> parse_policy(std::string_view text) { return Reader().read(text); }

const std::vector<PolicyObject>& default_policy() {
    static const std::vector<PolicyObject> policy = [] {
        std::vector<PolicyObject> out;
        for (const std::string_view part : {policy_for_users(), policy_for_system(), policy_for_controllers(),
                                            policy_for_namespaces(), policy_for_sluice()}) {
            auto objects = parse_policy(part);
            // The text is part of the program.
            SLUICE_ASSERT(objects.has_value());
            out.insert(out.end(), objects->begin(), objects->end());
        }
        return out;
    }();
    return policy;
}

}  // namespace sluice::authorization
