//! Runners as everybody reads them, whatever their rows hold.

use cloacina_core::store::Store;

use crate::support::Handle;

/// Takes from a table whatever it refuses, as if a row had been there before.
const WITHOUT_BORDERS: &str = "DO $$ DECLARE named text; BEGIN
    FOR named IN SELECT conname FROM pg_constraint WHERE conrelid = 'cloacina.runner'::regclass AND contype = 'c' LOOP
        EXECUTE format('ALTER TABLE cloacina.runner DROP CONSTRAINT %I', named);
    END LOOP;
    FOR named IN SELECT attname FROM pg_attribute WHERE attrelid = 'cloacina.runner'::regclass AND attnum > 0 AND attname <> 'id' LOOP
        EXECUTE format('ALTER TABLE cloacina.runner ALTER COLUMN %I DROP NOT NULL', named);
    END LOOP; END $$";

#[tokio::test]
async fn a_runner_whose_row_cannot_be_read_is_left_out_and_the_others_are_seen() {
    let t = Handle::new().await;
    t.beside.batch_execute(WITHOUT_BORDERS).await.unwrap();
    for (column, value) in [
        ("workflows", "ARRAY[NULL]::text[]"),
        ("workflows", "ARRAY[['a'], ['b']]"),
        ("workflows", "NULL"),
        ("fingerprints", "ARRAY[NULL]::bigint[]"),
        ("fingerprints", "ARRAY[[1], [2]]::bigint[]"),
        ("fingerprints", "NULL"),
        ("lease_ms", "NULL"),
        ("beat", "NULL"),
        ("state", "NULL"),
    ] {
        t.beside
            .batch_execute(&format!(
                "DELETE FROM cloacina.runner WHERE tenant_id IS NOT NULL;
                 INSERT INTO cloacina.runner (id, tenant_id, lease_ms, workflows, fingerprints, heartbeat_at)
                     SELECT gen_random_uuid(), tenant_id, 1000, ARRAY['a'], ARRAY[1], now() FROM cloacina.tenant;
                 UPDATE cloacina.runner SET {column} = {value} WHERE tenant_id IS NOT NULL"
            ))
            .await
            .unwrap();
        let runners = t.store.runner_list().await.unwrap();
        let seen: Vec<_> = runners.iter().map(|runner| runner.id).collect();
        assert_eq!(seen, [t.runner], "{column} = {value}");
    }
    // What is odd and can be read is read.
    t.beside
        .batch_execute("UPDATE cloacina.runner SET state = 'live', lease_ms = -9223372036854775808")
        .await
        .unwrap();
    assert_eq!(t.store.runner_list().await.unwrap().len(), 2);
}
