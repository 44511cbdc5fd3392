use cloacina::data::{TenantDb, TenantTx};

fn written() -> TenantTx {
    TenantTx { savepoint: 0 }
}

fn made(db: TenantDb) -> TenantTx {
    db.begin()
}

fn copied(tx: &TenantTx) -> TenantTx {
    tx.clone()
}

fn main() {}
