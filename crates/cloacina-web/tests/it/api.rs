//! What the interface does, by those who may.

use axum::body::{Body, to_bytes};
use axum::http::StatusCode;
use cloacina::tenants::Placement;
use serde_json::{Value, json};

use crate::service::{ADMIN, MENDED, SECRET, Service, VIEWER, asked, until};

const EXECUTIONS: &str = "/v1/tenants/acme/executions";

impl Service {
    /// Submits an execution to `acme` and says where it is.
    async fn submit(&self, workflow: &str, input: Value) -> String {
        let recorded =
            self.done("POST", EXECUTIONS, Some(json!({"workflow": workflow, "input": input}))).await;
        format!("{EXECUTIONS}/{}", recorded["id"].as_str().unwrap())
    }

    /// Waits until all tenants can be read: a database of its own is opened a moment after it was made.
    async fn is_read(&self) {
        until(async || self.get("/v1/executions").await["unreadable"] == json!([])).await;
    }

    async fn becomes(&self, path: &str, status: &str) -> Value {
        until(async || self.get(path).await["status"] == status).await;
        self.get(path).await
    }
}

on_each_placement! {
    async fn an_execution_is_submitted_and_read(service: Service) {
        let path = service.submit("hello", json!({"name": "Ines"})).await;
        let read = service.becomes(&path, "completed").await;
        assert_eq!(read["context"]["greeting"], "hello Ines");
        assert_eq!(read["tasks"][0]["id"], "greet");
        assert_eq!(read["tasks"][0]["attempts"], 1);
        let attempts = service.get(&format!("{path}/attempts")).await;
        assert_eq!(attempts["items"][0]["outcome"], "completed");
        // The other tenant has no such execution.
        let elsewhere = path.replace("acme", "globex");
        let (status, problem) = service.call(ADMIN, "GET", &elsewhere, None).await;
        assert_eq!((status, problem["kind"].as_str()), (StatusCode::NOT_FOUND, Some("NotFound")));
    }

    async fn the_same_key_submits_once(service: Service) {
        let send = async |body: &str| {
            let request = asked(ADMIN, "POST", EXECUTIONS).header("content-type", "application/json");
            let request =
                request.header("idempotency-key", "order-77").body(Body::from(body.to_owned())).unwrap();
            let response = service.send(request).await;
            let status = response.status();
            let body = to_bytes(response.into_body(), 10_000).await.unwrap();
            (status, serde_json::from_slice::<Value>(&body).unwrap())
        };
        let (first, one) = send(r#"{"workflow":"hello","input":{"name":"a"}}"#).await;
        let (again, same) = send(r#"{"workflow":"hello","input":{"name":"a"}}"#).await;
        assert_eq!((first, again, &one["id"]), (StatusCode::CREATED, StatusCode::CREATED, &same["id"]));
        let (status, problem) = send(r#"{"workflow":"hello","input":{"name":"b"}}"#).await;
        assert_eq!((status, problem["kind"].as_str()), (StatusCode::CONFLICT, Some("Conflict")));
    }

    async fn a_workflow_that_this_process_does_not_have_is_submitted_by_its_name(service: Service) {
        let path = service.submit("elsewhere", json!({})).await;
        assert_eq!(service.get(&path).await["status"], "pending");
        service.done("POST", &format!("{path}/cancel"), None).await;
        assert_eq!(service.get(&path).await["status"], "cancelled");
    }

    async fn lists_are_read_by_parts_and_filtered(service: Service) {
        let items: Vec<Value> =
            (0..25).map(|number| json!({"input": {"number": number}, "tags": ["many"]})).collect();
        let many = json!({"workflow": "hello", "items": items, "tags": ["night"]});
        let recorded = service.done("POST", &format!("{EXECUTIONS}/many"), Some(many)).await;
        assert_eq!(recorded["items"].as_array().unwrap().len(), 25);
        let failed = service.submit("fails", json!({})).await;
        service.becomes(&failed, "failed").await;

        let (mut after, mut met) = (String::new(), Vec::new());
        loop {
            let page = service.get(&format!("{EXECUTIONS}?tag=night&limit=10{after}")).await;
            met.extend(
                page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()),
            );
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        let expected: Vec<&str> =
            recorded["items"].as_array().unwrap().iter().rev().map(|item| item["id"].as_str().unwrap()).collect();
        assert_eq!(met, expected);

        let count = async |query: &str| {
            service.get(&format!("{EXECUTIONS}?{query}")).await["items"].as_array().unwrap().len()
        };
        assert_eq!(count("status=failed,cancelled").await, 1);
        assert_eq!(count("workflow=hello").await, 25);
        assert_eq!(count("since=1h").await, 26);
        assert_eq!(count("since=2100-01-01T00:00:00Z").await, 0);
    }

    async fn the_overview_tells_what_failed_and_who_uses_most(service: Service) {
        service.is_read().await;
        let before = service.get("/v1/overview").await;
        assert_eq!((&before["tenants"], &before["failed"], &before["unreadable"]), (&json!(2), &json!(0), &json!([])));
        let failed = service.submit("fails", json!({})).await;
        let failed = service.becomes(&failed, "failed").await;
        service.submit("elsewhere", json!({})).await;
        let overview = service.get("/v1/overview").await;
        assert_eq!((&overview["failed"], &overview["more_failed"]), (&json!(1), &json!(false)));
        let hours: Vec<u64> = overview["failed_per_hour"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
        assert_eq!((hours.len(), hours.iter().sum::<u64>(), hours[22] + hours[23]), (24, 1, 1));
        let of = &overview["workflows"][0];
        assert_eq!((&of["workflow"], &of["tenants"], &of["last_tenant"]), (&json!("fails"), &json!(1), &json!("acme")));
        assert_eq!(of["last_execution"], failed["id"]);
        assert!(of["last_error"]["text"].as_str().unwrap().contains(SECRET), "{of}");
        // Who uses most is looked at now and then.
        until(async || service.get("/v1/overview").await["busiest"][0]["under_way"] == 1).await;
        assert_eq!(service.get("/v1/overview").await["busiest"][0]["tenant"], "acme");

        let (status, overview) = service.call("vera viewer * none", "GET", "/v1/overview", None).await;
        assert_eq!(status, StatusCode::OK);
        assert!(!overview.to_string().contains(SECRET), "{overview}");
        let request = asked("vera viewer * none", "GET", "/overview").body(Body::empty()).unwrap();
        let page = to_bytes(service.send(request).await.into_body(), 1 << 20).await.unwrap();
        let page = String::from_utf8(page.to_vec()).unwrap();
        assert!(page.contains("Failures per workflow") && page.contains("failed per hour: "), "{page}");
        assert!(page.contains("Tenants that use most") && !page.contains(SECRET), "{page}");
    }

    async fn executions_of_the_engines_own_workflows_stand_apart(service: Service) {
        let path = service.submit("asks", json!({})).await;
        service.becomes(&path, "waiting").await;
        let order = json!({"action": "pause", "filter": {"workflow": "asks"}});
        let begun = service.done("POST", "/v1/tenants/acme/bulk", Some(order)).await;
        let run = format!("/v1/tenants/acme/bulk/{}", begun["id"].as_str().unwrap());
        until(async || !service.get(&run).await["ended_at"].is_null()).await;
        service.is_read().await;
        let ids = async |list: &str, query: &str| -> Vec<String> {
            let page = service.get(&format!("{list}?{query}")).await;
            page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
        };
        let (user, engines) = (path.rsplit('/').next().unwrap().to_owned(), begun["id"].as_str().unwrap().to_owned());
        for list in [EXECUTIONS, "/v1/executions"] {
            assert_eq!(ids(list, "").await, [&*user], "{list}");
            assert_eq!(ids(list, "of_engine=true").await, [&*engines, &*user], "{list}");
            assert_eq!(ids(list, "workflow=cloacina/bulk").await, [&*engines], "{list}");
            assert_eq!(ids(list, "status=completed").await, [""; 0], "{list}");
        }
        let metrics = service.get("/v1/tenants/acme/metrics").await;
        assert_eq!((&metrics["total_executions"], &metrics["active_executions"]), (&json!(1), &json!(1)));
        let page = async |query: &str| {
            let request = asked(ADMIN, "GET", &format!("/tenants/acme/executions{query}")).body(Body::empty()).unwrap();
            let page = to_bytes(service.send(request).await.into_body(), 1 << 20).await.unwrap();
            String::from_utf8(page.to_vec()).unwrap()
        };
        assert!(!page("").await.contains("cloacina/bulk"));
        assert!(page("?engine=yes").await.contains("cloacina/bulk"));
    }

    async fn a_doctor_finds_nothing_in_a_place_as_it_was_made(service: Service) {
        for of in ["/v1/doctor", "/v1/tenants/acme/doctor"] {
            let found = service.get(of).await;
            // What every login of the server may do, only a superuser takes away.
            let is_places = |finding: &&Value| {
                finding["is_fatal"] == true && !finding["what"].as_str().unwrap().contains("advisory locks")
            };
            let fatal: Vec<&Value> = found["findings"].as_array().unwrap().iter().filter(is_places).collect();
            assert!(fatal.is_empty(), "{of}: {found}");
        }
        let (status, problem) = service.call(ADMIN, "GET", "/v1/tenants/initech/doctor", None).await;
        assert_eq!((status, problem["kind"].as_str()), (StatusCode::NOT_FOUND, Some("NotFound")));
        let request = asked(ADMIN, "GET", "/tenants/acme/settings?doctor=now").body(Body::empty()).unwrap();
        let page = to_bytes(service.send(request).await.into_body(), 1 << 20).await.unwrap();
        let page = String::from_utf8(page.to_vec()).unwrap();
        assert!(page.contains("Nothing is wrong.") || page.contains("advisory locks"), "{page}");
    }

    async fn what_a_task_does_is_told(service: Service) {
        for (workflow, kinds) in [("hello", ["task"]), ("maps", ["map"]), ("asks", ["ask"])] {
            let path = service.submit(workflow, json!({"list": [1]})).await;
            until(async || service.get(&path).await["tasks"][0]["kind"] == kinds[0]).await;
        }
    }

    async fn who_may_not_see_payloads_is_told_that_they_are_there(service: Service) {
        let path = service.submit("fails", json!({"card": SECRET})).await;
        service.becomes(&path, "failed").await;
        let asked = service.submit("asks", json!({})).await;
        service.becomes(&asked, "waiting").await;
        for page in [
            path.clone(),
            format!("{path}/attempts"),
            EXECUTIONS.to_owned(),
            asked.clone(),
            "/v1/tenants/acme/waits?asking=true".to_owned(),
        ] {
            let (status, body) = service.call(VIEWER, "GET", &page, None).await;
            assert_eq!(status, StatusCode::OK, "{page}");
            assert!(!body.to_string().contains(SECRET), "{page}: {body}");
        }
        let (_, hidden) = service.call(VIEWER, "GET", &path, None).await;
        assert!(hidden["error"]["hidden_bytes"].as_u64().unwrap() > 10);
        assert!(hidden.get("context").is_none());
        assert!(service.get(&path).await["error"]["text"].as_str().unwrap().contains(SECRET));
    }

    async fn a_failed_execution_is_run_again_from_where_it_failed(service: Service) {
        let path = service.submit("fails", json!({})).await;
        service.becomes(&path, "failed").await;
        let (status, _) =
            service.call(ADMIN, "POST", &format!("{path}/rerun"), Some(json!({"from": "task"}))).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let again = json!({"from": "failed", "input": {"mended": true}});
        let again = service.done("POST", &format!("{path}/rerun"), Some(again)).await;
        let new = format!("{EXECUTIONS}/{}", again["id"].as_str().unwrap());
        service.becomes(&new, "completed").await;
        assert_eq!(service.get(&path).await["superseded_by"], again["id"]);
        let (status, problem) = service.call(ADMIN, "POST", &format!("{path}/rerun"), Some(json!({}))).await;
        assert_eq!((status, problem["kind"].as_str()), (StatusCode::CONFLICT, Some("WrongState")));
    }

    async fn waits_are_answered_moved_and_woken(service: Service) {
        let path = service.submit("asks", json!({})).await;
        service.becomes(&path, "waiting").await;
        let inbox = service.get("/v1/tenants/acme/waits?asking=true&limit=1").await;
        assert_eq!(inbox["items"][0]["ask"]["choices"], json!(["yes", "no"]));
        let after = inbox["next"].as_str().unwrap();
        let rest = service.get(&format!("/v1/tenants/acme/waits?after={after}")).await;
        assert_eq!(rest["items"], json!([]));

        let until_then = json!({"until": "2090-01-01T00:00:00Z"});
        service.done("PUT", &format!("{path}/waits/ready/until"), Some(until_then)).await;
        assert_eq!(service.get(&path).await["waits"][0]["until"], "2090-01-01T00:00:00Z");

        let maybe = json!({"name": "go", "payload": "maybe"});
        let (status, _) = service.call(ADMIN, "POST", &format!("{path}/signals"), Some(maybe)).await;
        assert_ne!(status, StatusCode::OK, "an answer that is no choice");
        let yes = json!({"name": "go", "payload": "yes", "key": "1"});
        let receipt = service.done("POST", &format!("{path}/signals"), Some(yes.clone())).await;
        assert_eq!(receipt["outcome"], "delivered");
        service.becomes(&path, "completed").await;
        assert_eq!(service.done("POST", &format!("{path}/signals"), Some(yes)).await["outcome"], "already_over");

        let slow = service.submit("asks", json!({})).await;
        service.becomes(&slow, "waiting").await;
        service.done("POST", &format!("{slow}/waits/ready/wake"), None).await;
        service.becomes(&slow, "failed").await;
    }

    async fn the_children_of_a_map_are_told_with_their_progress(service: Service) {
        let path = service.submit("maps", json!({"list": [1, 2, 3]})).await;
        let read = service.becomes(&path, "completed").await;
        assert_eq!((&read["children"][0]["total"], &read["children"][0]["completed"]), (&json!(3), &json!(3)));
        let first = service.get(&format!("{path}/children?limit=2")).await;
        let next = first["next"].as_str().unwrap();
        let rest = service.get(&format!("{path}/children?limit=2&after={next}")).await;
        assert_eq!(rest["items"].as_array().unwrap().len(), 1);
        let (status, problem) = service
            .call(ADMIN, "PUT", &format!("{path}/nodes/square/parallel"), Some(json!({"parallel": 3})))
            .await;
        assert_eq!((status, problem["kind"].as_str()), (StatusCode::CONFLICT, Some("WrongState")));
    }

    async fn a_schedule_is_made_looked_at_triggered_and_deleted(service: Service) {
        let path = "/v1/tenants/acme/schedules/nightly";
        let wrong = json!({"workflow": "hello", "cron": ["61 2 * * *"]});
        let (status, problem) = service.call(ADMIN, "PUT", path, Some(wrong.clone())).await;
        assert_eq!((status, problem["kind"].as_str()), (StatusCode::BAD_REQUEST, Some("Configuration")));
        let nightly = json!({
            "workflow": "hello", "cron": ["0 2 * * *"], "zone": "Europe/Zurich", "overlap": {"buffer": 3}, "catch_up": "latest",
            "starts_at": "2090-01-01T00:00:00Z",
        });
        let preview = service.done("POST", "/v1/tenants/acme/schedule-preview", Some(nightly.clone())).await;
        assert_eq!(preview["times"][0], "2090-01-01T01:00:00Z");
        service.done("PUT", path, Some(nightly)).await;
        assert_eq!(service.get(path).await["zone"], "Europe/Zurich");
        assert_eq!(service.get(&format!("{path}/next?limit=2")).await["times"].as_array().unwrap().len(), 2);
        let triggered = service.done("POST", &format!("{path}/trigger"), None).await;
        assert_eq!(triggered["outcome"], "started");
        let fires = service.get(&format!("{path}/fires")).await;
        assert_eq!(fires["items"][0]["execution"], triggered["execution"]);
        service.done("POST", &format!("{path}/pause"), Some(json!({"reason": "holidays"}))).await;
        assert_eq!(service.get(path).await["reason"], "holidays");
        service.done("POST", &format!("{path}/resume"), None).await;
        assert_eq!(service.get("/v1/tenants/acme/schedules").await["items"][0]["state"], "active");
        service.done("DELETE", path, None).await;
        assert_eq!(service.call(ADMIN, "GET", path, None).await.0, StatusCode::NOT_FOUND);
    }

    async fn an_action_on_many_executions_is_counted_done_and_told(service: Service) {
        for _ in 0..3 {
            let path = service.submit("asks", json!({})).await;
            service.becomes(&path, "waiting").await;
        }
        let bulk = "/v1/tenants/acme/bulk";
        let (status, _) =
            service.call(ADMIN, "POST", bulk, Some(json!({"action": "cancel", "filter": {}}))).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "without a filter");
        let order = json!({"action": "cancel", "filter": {"workflow": "asks"}, "reason": "a mistake"});
        let mut dry = order.clone();
        dry["dry_run"] = json!(true);
        assert_eq!(service.done("POST", bulk, Some(dry)).await["would_match"], 3);
        let begun = service.done("POST", bulk, Some(order)).await;
        let path = format!("{bulk}/{}", begun["id"].as_str().unwrap());
        until(async || !service.get(&path).await["ended_at"].is_null()).await;
        let ended = service.get(&path).await;
        assert_eq!((&ended["done"], &ended["failed"], &ended["by"]), (&json!(3), &json!(0), &json!("root")));
        assert_eq!(service.get(bulk).await["items"].as_array().unwrap().len(), 1);
        // Another tenant knows nothing of it.
        let elsewhere = path.replace("acme", "globex");
        assert_eq!(service.call(ADMIN, "GET", &elsewhere, None).await.0, StatusCode::NOT_FOUND);
        assert!(!MENDED.load(std::sync::atomic::Ordering::Relaxed));
    }

    async fn an_action_in_all_tenants_is_one_in_each_that_has_such_executions(service: Service) {
        // A tenant with a database of its own is read once that is open, which it soon is.
        until(async || service.get("/v1/executions").await["unreadable"] == json!([])).await;
        for _ in 0..2 {
            let path = service.submit("asks", json!({})).await;
            service.becomes(&path, "waiting").await;
        }
        let order = |workflow: &str, dry_run: bool| {
            json!({"action": "cancel", "filter": {"workflow": workflow}, "reason": "a mistake", "dry_run": dry_run})
        };
        let (status, _) = service.call("ines operator acme none", "POST", "/v1/bulk", Some(order("asks", true))).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert_eq!(service.done("POST", "/v1/bulk", Some(order("asks", true))).await["would_match"], 2);
        let begun = service.done("POST", "/v1/bulk", Some(order("asks", false))).await;
        let tenants: Vec<&Value> = begun["begun"].as_array().unwrap().iter().map(|one| &one["tenant"]).collect();
        assert_eq!((tenants, &begun["unreadable"]), (vec![&json!("acme")], &json!([])), "{begun}");
        let path = format!("/v1/tenants/acme/bulk/{}", begun["begun"][0]["id"].as_str().unwrap());
        until(async || !service.get(&path).await["ended_at"].is_null()).await;
        let ended = service.get(&path).await;
        assert_eq!((&ended["done"], &ended["reason"], &ended["status"]), (&json!(2), &json!("a mistake"), &json!("completed")));
        assert_eq!(service.get("/v1/tenants/globex/bulk").await["items"], json!([]));
        // Only what is such an action is stopped there.
        let execution = service.submit("asks", json!({})).await;
        let id = execution.rsplit('/').next().unwrap();
        let (status, _) = service.call(ADMIN, "POST", &format!("/v1/tenants/acme/bulk/{id}/stop"), None).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        service.becomes(&execution, "waiting").await;
    }

    async fn what_all_tenants_have_is_asked_for_at_once(service: Service) {
        let mine = service.submit("fails", json!({})).await;
        service.becomes(&mine, "failed").await;
        let theirs = "/v1/tenants/globex/executions";
        let recorded = service.done("POST", theirs, Some(json!({"workflow": "asks"}))).await;
        let asks = format!("{theirs}/{}", recorded["id"].as_str().unwrap());
        service.becomes(&asks, "waiting").await;

        // A tenant with a database of its own is read once that is open, which it soon is.
        until(async || service.get("/v1/executions").await["unreadable"] == json!([])).await;
        let all = service.get("/v1/executions?since=1h").await;
        let of: Vec<&str> =
            all["items"].as_array().unwrap().iter().map(|item| item["tenant"].as_str().unwrap()).collect();
        assert_eq!(of, ["globex", "acme"], "the newest first: {all}");
        assert_eq!(all["unreadable"], json!([]));
        let first = service.get("/v1/executions?limit=1").await;
        let rest = service.get(&format!("/v1/executions?limit=1&after={}", first["next"].as_str().unwrap())).await;
        assert_eq!(rest["items"][0]["tenant"], "acme");
        let failed = service.get("/v1/executions?status=failed").await;
        assert_eq!(failed["items"].as_array().unwrap().len(), 1);

        let waits = service.get("/v1/waits?asking=true&limit=1").await;
        assert_eq!((&waits["items"][0]["tenant"], &waits["items"][0]["ask"]["role"]), (&json!("globex"), &json!("finance")));
        let behind = service.get(&format!("/v1/waits?after={}", waits["next"].as_str().unwrap())).await;
        assert_eq!(behind["items"], json!([]));
        for wrong in ["acme", ":", "acme:made-up"] {
            let (status, _) = service.call(ADMIN, "GET", &format!("/v1/waits?after={wrong}"), None).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}");
        }
        // Who sees all of them without payloads is told how much there is.
        let (_, hidden) = service.call("vera viewer * none", "GET", "/v1/executions", None).await;
        assert!(!hidden.to_string().contains(SECRET), "{hidden}");
        let (_, hidden) = service.call("vera viewer * none", "GET", "/v1/waits", None).await;
        assert!(!hidden.to_string().contains(SECRET), "{hidden}");
    }

    async fn what_is_done_is_in_the_audit_with_who_and_why(service: Service) {
        let path = service.submit("asks", json!({})).await;
        assert_eq!(service.becomes(&path, "waiting").await["submitted_by"], "root");
        let operator = "ines operator acme none";
        let request = asked(operator, "POST", &format!("{path}/cancel")).header("x-reason", "billed twice, Zürich");
        assert_eq!(service.send(request.body(Body::empty()).unwrap()).await.status(), StatusCode::NO_CONTENT);
        let nightly = json!({"workflow": "hello", "cron": ["0 2 * * *"]});
        service.done("PUT", "/v1/tenants/acme/schedules/nightly", Some(nightly)).await;
        service.done("POST", "/v1/tenants/acme/schedules/nightly/pause", Some(json!({}))).await;
        // What could not be done, and what only looked, is not there.
        service.call(operator, "POST", &format!("{path}/pause"), None).await;
        service.get(&path).await;

        let audit = service.get("/v1/tenants/acme/audit").await;
        let rows = audit["items"].as_array().unwrap();
        let done: Vec<(&str, &str)> =
            rows.iter().map(|row| (row["actor"].as_str().unwrap(), row["action"].as_str().unwrap())).collect();
        let ours: Vec<_> = done.iter().filter(|(actor, _)| ["root", "ines"].contains(actor)).collect();
        assert_eq!(ours.len(), 3, "{done:?}");
        let cancelled = rows.iter().find(|row| row["actor"] == "ines").unwrap();
        assert_eq!(cancelled["reason"], "billed twice, Zürich");
        assert_eq!(cancelled["role"], "operator");
        assert!(path.ends_with(cancelled["object"].as_str().unwrap()), "{cancelled}");
        let verdict = service.get("/v1/tenants/acme/audit/verify").await;
        assert!(verdict["rows"].as_u64().unwrap() >= 3 && verdict["broken_at"].is_null(), "{verdict}");
        let (status, _) = service.call(operator, "GET", "/v1/tenants/acme/audit", None).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        // Nothing of it is about the other tenant.
        let theirs = service.get("/v1/tenants/globex/audit").await;
        assert!(!theirs.to_string().contains("ines"), "{theirs}");
    }

    async fn tenants_are_made_listed_and_removed(service: Service) {
        let made = service.done("POST", "/v1/tenants", Some(json!({"name": "initech"}))).await;
        assert_eq!(made["placement"], service.placement);
        let names = service.get("/v1/tenants?limit=2").await;
        assert_eq!(
            (names["items"][1]["name"].as_str(), names["next"].as_str()),
            (Some("globex"), Some("globex"))
        );
        assert_eq!(service.get("/v1/tenants?after=globex").await["items"][0]["name"], "initech");
        let (status, problem) = service.call(ADMIN, "POST", "/v1/tenants", Some(json!({"name": "ACME"}))).await;
        assert_eq!((status, problem["kind"].as_str()), (StatusCode::CONFLICT, Some("Conflict")));
        let (status, login) = service.call(ADMIN, "POST", "/v1/tenants/initech/rotate", None).await;
        if made["credentials"].is_null() {
            assert_eq!(status, StatusCode::BAD_REQUEST, "{login}");
        } else {
            assert_eq!(status, StatusCode::OK, "{login}");
            assert_ne!(login["user"], made["credentials"]["user"], "the one before works for an hour");
            assert_ne!(login["password"], made["credentials"]["password"]);
        }
        let (status, _) = service.call(ADMIN, "DELETE", "/v1/tenants/initech", None).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "without its name once more");
        service.done("DELETE", "/v1/tenants/initech?confirm=initech", None).await;
        assert_eq!(service.call(ADMIN, "GET", "/v1/tenants/initech", None).await.0, StatusCode::NOT_FOUND);
        let metrics = service.get("/v1/tenants/acme/metrics").await;
        assert_eq!(metrics["queue_depth"], 0);
    }
}
