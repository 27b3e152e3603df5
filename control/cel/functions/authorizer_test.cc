// Questions to an authorizer. Expectations: Kubernetes' documentation of its library "authz" (1.32).
#include "control/cel/authorizer.h"

#include <fmt/core.h>

#include "control/cel/test_rows.h"

namespace sluice::cel {
namespace {

// Allows what is asked of "pods", and says what it was asked.
class Recorder final : public AuthorizerBackend {
public:
    AuthorizationAnswer check(const AuthorizationCheck& what) override {
        asked = fmt::format("{} {} {}/{}/{} in {} named {} path {} as {} {} {}", what.verb, what.version, what.group,
                            what.resource, what.subresource, what.namespace_name, what.name, what.path,
                            what.service_account ? what.service_account->namespace_name + ":" + what.service_account->name
                                                 : "user",
                            what.field_selector, what.label_selector);
        return {what.resource == "pods", "because", what.verb == "fail" ? "broken" : ""};
    }
    std::string asked;
};

class CelAuthorizer : public testing::Test {
protected:
    std::string ask(const char* expression) {
        AuthorizationCheck request;
        request.resource = "pods";
        request.namespace_name = "ns";
        request.name = "web";
        return result_of(expression,
                         {{"authorizer", authorizer_type(), authorizer_value(recorder)},
                          {"authorizer.requestResource", resource_check_type(),
                           resource_check_value(recorder, request)}});
    }
    std::shared_ptr<Recorder> recorder = std::make_shared<Recorder>();
};

TEST_F(CelAuthorizer, AsksForResources) {
    EXPECT_EQ(ask("authorizer.group('').resource('pods').subresource('log').namespace('a').name('b').check('get').allowed()"),
              "true");
    EXPECT_EQ(recorder->asked, "get * /pods/log in a named b path  as user  ");
    EXPECT_EQ(ask("authorizer.serviceAccount('a', 'robot').group('apps').resource('deployments')"
                  ".fieldSelector('metadata.name=x').labelSelector('l in (y)').check('list').allowed()"),
              "false");
    EXPECT_EQ(recorder->asked, "list * apps/deployments/ in  named  path  as a:robot metadata.name=x l in (y)");
}

TEST_F(CelAuthorizer, AsksForPathsAndTheRequest) {
    EXPECT_EQ(ask("authorizer.path('/healthz').check('get').reason()"), "'because'");
    EXPECT_EQ(recorder->asked, "get * // in  named  path /healthz as user  ");
    EXPECT_EQ(ask("authorizer.requestResource.check('delete').allowed()"), "true");
    EXPECT_EQ(recorder->asked, "delete * /pods/ in ns named web path  as user  ");
}

TEST_F(CelAuthorizer, ErrorsAreSaid) {
    EXPECT_EQ(ask("[authorizer.path('/x').check('fail')].map(d, [string(d.errored()), d.error()])[0]"),
              "['true', 'broken']");
    EXPECT_EQ(ask("authorizer.path(' ')"), "error: path must not be empty");
    EXPECT_EQ(ask("authorizer.group('').resource('')"), "error: resource must not be empty");
    EXPECT_EQ(ask("authorizer.serviceAccount('default', 'not@valid')"), "error: Invalid service account name");
    EXPECT_EQ(ask("authorizer.serviceAccount('a.b', 'valid')"), "error: Invalid service account namespace");
}

TEST_F(CelAuthorizer, TwoChecksAreAffordable) {
    const char* check = "authorizer.path('/x').check('get').reason() == 'because'";
    EXPECT_EQ(ask(fmt::format("{} && {}", check, check).c_str()), "true");
    EXPECT_EQ(ask(fmt::format("{} && {} && {}", check, check, check).c_str()),
              "error: operation cancelled: actual cost limit exceeded");
}

}  // namespace
}  // namespace sluice::cel
